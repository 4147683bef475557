"""Errors of presets, downloads and checkpoint conversion."""

from __future__ import annotations

from core.service.domain.errors.base import LongtakeError, OperatorError


class PresetError(OperatorError):
    """The preset cannot be loaded."""

    code = "preset_unusable"


class ModelNotInstalled(PresetError):
    """The model's weights are not installed."""

    code = "model_not_installed"


class DownloadError(OperatorError):
    """The files of the Hub cannot be downloaded."""

    code = "download_failed"


class HubUnreachable(DownloadError):
    """The Hub does not answer."""

    code = "hub_unreachable"


class HubFileMissing(DownloadError):
    """The Hub has no such file."""

    code = "hub_file_missing"


class DownloadDamaged(DownloadError):
    """A downloaded file is damaged."""

    code = "download_damaged"


class ConversionError(LongtakeError):
    """The checkpoint cannot be converted."""

    code = "conversion_failed"


class CheckpointUnreadable(ConversionError):
    """The checkpoint cannot be read."""

    code = "checkpoint_unreadable"


class CheckpointUnsafe(ConversionError):
    """The checkpoint holds something other than tensors."""

    code = "checkpoint_unsafe"


class CheckpointMismatch(ConversionError):
    """The checkpoint's weights do not match the model."""

    code = "checkpoint_mismatch"


class ShardMissing(ConversionError):
    """One file of a sharded checkpoint is missing."""

    code = "shard_missing"


class WeightsOutOfRange(ConversionError):
    """The weights have values outside the range of the requested type."""

    code = "weights_out_of_range"


class OutputRefused(ConversionError):
    """The folder to write cannot be used."""

    code = "output_refused"


class OutputDiskFull(ConversionError):
    """The disk has no room for the converted weights."""

    code = "output_disk_full"


class WeightsDamaged(ConversionError):
    """Files differ from the checksums written with them."""

    code = "weights_damaged"
