"""Named errors of the service, each with a stable `code`, the field at fault and the fix.

LongtakeError
├── RequestError            the client's input is at fault; nothing was enqueued
│   ├── InvalidField            a field has a wrong type or value
│   ├── UnknownField            a field that no version knows
│   ├── FieldNotSupported       a field that this version has not built yet
│   ├── MalformedJson           the body is not JSON
│   ├── PromptTooLong           more tokens than the text encoder reads
│   ├── PromptNotUnderstood     no word that the model knows
│   ├── UnknownModel            no such preset
│   ├── TooManyFrames / TooFewFrames
│   ├── UrlRefused              scheme, host or address not allowed
│   │   ├── WebhookUrlRefused
│   │   └── MediaUrlRefused
│   ├── UploadTooLarge          more bytes declared than uploads may have
│   ├── UploadNotFound          no upload with this id, or its time is over
│   └── UploadIncomplete        not the declared bytes were sent to the upload's URL
├── MediaError              a given image or video cannot be used; the job fails
│   ├── MediaFetchFailed        its server did not answer (the only one that a retry may help)
│   ├── MediaUnavailable        its server refused
│   ├── MediaTooLarge           more bytes, pixels, seconds or decoding time than allowed
│   ├── MediaTypeRefused        not one of the types taken
│   ├── MediaUnreadable         damaged or cut off
│   └── VideoTooShort           fewer than 16 frames at the job's rate
├── ServiceFull             too many jobs wait already
├── TooManyStreams          the server holds as many event streams as it may
├── TooManyStreamsOfClient  one client holds as many event streams as it may
├── TooManyUploads          too many uploads of this client are kept already
├── UploadUnknown           no upload with this id, where it is asked for itself
├── JobNotFound             no job with this id
├── JobStateConflict        the job's status does not allow this
├── VideoNotReady           the final video does not exist yet
├── PlaylistNotReady        the first chunk does not exist yet
├── ChunkNotReady           this chunk does not exist yet
├── ChunkNotFound           the job has no such chunk and will not get it
├── RangeNotSatisfiable     bytes that the video does not have were asked for
├── MediaBusy               too many videos are being sent already
├── TooManyMediaStreamsOfClient  one client is being sent as many videos as it may
├── StaleLease              another worker holds a newer fencing token; nothing was committed
├── Interrupted             cancel, drain or a lost lease stopped a chunk; nothing was committed
├── PresetError             a preset cannot be read or loaded
│   └── ModelNotInstalled       its weights were not downloaded yet
├── DownloadError           the Hub's files cannot be had
│   ├── HubUnreachable          no network, or the Hub does not answer
│   ├── HubFileMissing          no such repository, revision or file there, or no right to it
│   └── DownloadDamaged         the bytes that came are not those that were announced
├── ConversionError         a published checkpoint cannot become a weights folder; nothing was left behind
│   ├── CheckpointUnreadable    not there, truncated, or of a format that is not read
│   ├── CheckpointUnsafe        its weights hold something else than tensors; nothing of it was run
│   ├── CheckpointMismatch      weights missing, unexpected, misshapen or of a wrong type
│   ├── ShardMissing            one file of several is not there
│   ├── WeightsOutOfRange       values that the wanted type cannot hold
│   ├── OutputRefused           the folder to write is in use, not empty or not writable
│   ├── OutputDiskFull          no room for the folder to write
│   └── WeightsDamaged          files differ from the checksums written with them
├── StoreError              Redis, or the broker, did not do what was asked
│   ├── StoreUnavailable        gone for a while: waiting helps
│   ├── StoreReadOnly           it answers and refuses writes (a replica, a failed save)
│   ├── StoreFull               no memory or disk left for writes
│   ├── StoreDamaged            what it holds cannot be read
│   └── StoreMisconfigured      wrong address, password or rights, or a bug of ours: waiting does not help
├── StorageError            the object store refused or did not answer
│   ├── ObjectNotFound          no object under this key
│   ├── ObjectDamaged           an object's bytes are not those that were stored
│   ├── StorageUnavailable      gone for a while: waiting helps
│   ├── StorageReadOnly         it answers and refuses writes
│   ├── StorageFull             no room left
│   └── StorageMisconfigured    wrong address, key or bucket, or a bug of ours: waiting does not help
├── NameServiceUnavailable  DNS does not answer: waiting helps
├── ChunkNotRepeatable      the same engine made other bytes of a chunk: what it was given has changed; the job fails
├── NotFinite               a network gave numbers that are not finite; the job fails
└── SetupError              a missing binary, a port in use, a full disk: one sentence for a person

This module knows no HTTP status: api/http/problems.py maps the classes.
"""

from __future__ import annotations

MAX_ECHO = 200
"""Most characters of a client's own value that an answer repeats."""


def shortened(value: str, most: int = MAX_ECHO) -> str:
    """A client's own value as one harmless line for messages and logs: cut at `most` characters; what does not print
    (control characters, directions of writing, lone surrogates) is written as an escape."""
    cut = value if len(value) <= most else f"{value[: most - 1]}…"
    if cut.isprintable():
        return cut
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)


class LongtakeError(Exception):
    """Something went wrong in Longtake."""

    code = "internal_error"

    def __init__(self, message: str | None = None, *, field: str | None = None, fix: str | None = None) -> None:
        super().__init__(message or _title_of(self))
        self.field = field
        self.fix = fix

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def public_message(self) -> str:
        """The message as clients may read it."""
        return self.message

    @property
    def public_fix(self) -> str | None:
        """What to do about it, as clients may read it: nothing where the message is not theirs to read."""
        return self.fix if self.public_message == self.message else None

    @property
    def with_fix(self) -> str:
        """The message, and in brackets what to do about it where that is known: for a terminal."""
        return f"{self.message} ({self.fix})" if self.fix else self.message


def _title_of(error: LongtakeError) -> str:
    return (type(error).__doc__ or "").strip().splitlines()[0]


class RequestError(LongtakeError):
    """The request cannot be accepted. `also` holds further errors found in the same request."""

    code = "invalid_request"
    also: tuple[RequestError, ...] = ()


class InvalidField(RequestError):
    """A field has a wrong type or value."""

    code = "invalid_field"


class UnknownField(RequestError):
    """The request has a field that does not exist."""

    code = "unknown_field"


class FieldNotSupported(RequestError):
    """This version does not support the field yet."""

    code = "field_not_supported"


class MalformedJson(RequestError):
    """The body is not valid JSON."""

    code = "malformed_json"


class PromptTooLong(RequestError):
    """The prompt has more tokens than the text encoder reads."""

    code = "prompt_too_long"


class PromptNotUnderstood(RequestError):
    """The model knows no word of the prompt."""

    code = "prompt_not_understood"


class UnknownModel(RequestError):
    """There is no such model."""

    code = "unknown_model"


class TooFewFrames(RequestError):
    """A video has at least 16 frames."""

    code = "too_few_frames"


class TooManyFrames(RequestError):
    """The video is longer than this service allows."""

    code = "too_many_frames"


class UrlRefused(RequestError):
    """The URL is not allowed."""

    code = "url_refused"


class WebhookUrlRefused(UrlRefused):
    """The webhook URL is not allowed."""

    code = "webhook_url_refused"


class MediaUrlRefused(UrlRefused):
    """The URL of the image or video is not allowed."""

    code = "media_url_refused"


class UploadTooLarge(RequestError):
    """The upload is larger than this service allows."""

    code = "upload_too_large"


class UploadNotFound(RequestError):
    """There is no such upload, or its time is over."""

    code = "upload_not_found"


class UploadIncomplete(RequestError):
    """The upload's bytes are not there as declared."""

    code = "upload_incomplete"


class MediaError(LongtakeError):
    """The given image or video cannot be used."""

    code = "media_error"


class MediaFetchFailed(MediaError):
    """The server of the image or video did not answer."""

    code = "media_fetch_failed"


class MediaUnavailable(MediaError):
    """The server of the image or video refused to give it."""

    code = "media_unavailable"


class MediaTooLarge(MediaError):
    """The image or video is larger than this service allows."""

    code = "media_too_large"


class MediaTypeRefused(MediaError):
    """The image or video is of a type that is not taken."""

    code = "media_type_refused"


class MediaUnreadable(MediaError):
    """The image or video is damaged or cut off."""

    code = "media_unreadable"


class VideoTooShort(MediaError):
    """The video has too few frames to go on from."""

    code = "video_too_short"


class ServiceFull(LongtakeError):
    """Too many jobs wait, or too many uploads are kept, already."""

    code = "service_full"


class TooManyStreams(LongtakeError):
    """This server holds as many event streams as it may."""

    code = "too_many_streams"


class TooManyStreamsOfClient(LongtakeError):
    """This client holds as many event streams as one may."""

    code = "too_many_streams_of_client"


class TooManyUploads(LongtakeError):
    """Too many uploads of this client are kept already."""

    code = "too_many_uploads"


class UploadUnknown(LongtakeError):
    """There is no upload with this id."""

    code = "upload_unknown"


class JobNotFound(LongtakeError):
    """There is no job with this id."""

    code = "job_not_found"


class JobStateConflict(LongtakeError):
    """The job's status does not allow this."""

    code = "job_state_conflict"


class VideoNotReady(LongtakeError):
    """The final video does not exist yet."""

    code = "video_not_ready"


class PlaylistNotReady(LongtakeError):
    """There is nothing to play before the first chunk."""

    code = "playlist_not_ready"


class ChunkNotReady(LongtakeError):
    """This chunk does not exist yet."""

    code = "chunk_not_ready"


class ChunkNotFound(LongtakeError):
    """The job has no such chunk and will not get it."""

    code = "chunk_not_found"


class RangeNotSatisfiable(LongtakeError):
    """The video has no such bytes."""

    code = "range_not_satisfiable"

    def __init__(self, total_bytes: int | None) -> None:
        """`total_bytes` where it is known."""
        has = "less" if total_bytes is None else f"{total_bytes} bytes"
        super().__init__(f"the video has {has}", fix="ask for a range within it")
        self.total_bytes = total_bytes


class MediaBusy(LongtakeError):
    """Too many videos are being sent already."""

    code = "media_busy"


class TooManyMediaStreamsOfClient(LongtakeError):
    """This client is being sent as many videos as one may."""

    code = "too_many_media_streams_of_client"


class StaleLease(LongtakeError):
    """Another worker holds a newer lease on this lane; nothing was committed."""

    code = "stale_lease"


class Interrupted(LongtakeError):
    """The chunk was stopped between two denoising steps; nothing was committed."""

    code = "interrupted"


class PresetError(LongtakeError):
    """The preset cannot be loaded."""

    code = "preset_unusable"

    @property
    def public_message(self) -> str:
        """Without the folders of the machine: those are in `message`, for operators."""
        return _title_of(self)


class ModelNotInstalled(PresetError):
    """The model's weights are not installed."""

    code = "model_not_installed"


class DownloadError(LongtakeError):
    """The files of the Hub cannot be had."""

    code = "download_failed"

    @property
    def public_message(self) -> str:
        """Without addresses and folders: those are in `message`, for operators."""
        return _title_of(self)


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
    """The checkpoint's weights hold something else than tensors."""

    code = "checkpoint_unsafe"


class CheckpointMismatch(ConversionError):
    """The checkpoint holds other weights than the model has."""

    code = "checkpoint_mismatch"


class ShardMissing(ConversionError):
    """One file of a checkpoint in several files is not there."""

    code = "shard_missing"


class WeightsOutOfRange(ConversionError):
    """The wanted type cannot hold the weights' values."""

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


class NameServiceUnavailable(LongtakeError):
    """Host names cannot be looked up at the moment."""

    code = "name_service_unavailable"


class StoreError(LongtakeError):
    """The store of the jobs did not answer."""

    code = "store_error"

    @property
    def public_message(self) -> str:
        """What happened, without addresses and keys: those are in `message`, for operators."""
        return _title_of(self)


class StoreUnavailable(StoreError):
    """The store of the jobs does not answer at the moment."""

    code = "store_unavailable"


class StoreReadOnly(StoreError):
    """The store of the jobs refuses writes."""

    code = "store_read_only"


class StoreFull(StoreError):
    """The store of the jobs is full."""

    code = "store_full"


class StoreDamaged(StoreError):
    """The store of the jobs holds something that cannot be read."""

    code = "store_damaged"


class StoreMisconfigured(StoreError):
    """The store of the jobs refuses what the service asks for."""

    code = "store_misconfigured"


class StorageError(LongtakeError):
    """The object store refused or did not answer."""

    code = "storage_error"

    @property
    def public_message(self) -> str:
        """What happened, without addresses and keys: those are in `message`, for operators."""
        return _title_of(self)


class StorageUnavailable(StorageError):
    """The object store does not answer at the moment."""

    code = "storage_unavailable"


class StorageReadOnly(StorageError):
    """The object store refuses writes."""

    code = "storage_read_only"


class StorageFull(StorageError):
    """The object store is full."""

    code = "storage_full"


class StorageMisconfigured(StorageError):
    """The object store refuses what the service asks for."""

    code = "storage_misconfigured"


class ObjectNotFound(StorageError):
    """There is no object under this key."""

    code = "object_not_found"


class ObjectDamaged(StorageError):
    """The object's bytes are not those that were stored."""

    code = "object_damaged"


class NotFinite(LongtakeError):
    """A network gave numbers that are not finite."""

    code = "not_finite"


class ChunkNotRepeatable(LongtakeError):
    """A damaged chunk cannot be made again as it was."""

    code = "chunk_not_repeatable"


class SetupError(LongtakeError):
    """Something on this machine keeps Longtake from starting."""

    code = "setup_error"
