"""Errors of jobs, uploads and their answers: missing, in the wrong state, over a limit, or stopped."""

from __future__ import annotations

from core.service.domain.errors.base import LongtakeError


class ServiceFull(LongtakeError):
    """Too many jobs are waiting, or too many uploads are stored or being read, already."""

    code = "service_full"


class TooManyStreams(LongtakeError):
    """This server has reached its limit of event streams."""

    code = "too_many_streams"


class TooManyStreamsOfClient(LongtakeError):
    """This client has reached its limit of event streams."""

    code = "too_many_streams_of_client"


class TooManyUploads(LongtakeError):
    """Too many uploads of this client are stored already."""

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


class JobExists(LongtakeError):
    """There is another job with this id."""

    code = "job_exists"


class JobDeleted(LongtakeError):
    """The job was deleted within the last day."""

    code = "job_deleted"


class RequestInFlight(LongtakeError):
    """The same request is being handled already."""

    code = "request_in_flight"


class PromptEnhancerFailed(LongtakeError):
    """The endpoint that lengthens prompts did not give a usable answer."""

    code = "prompt_not_enhanced"


class VideoNotReady(LongtakeError):
    """The final video does not exist yet."""

    code = "video_not_ready"


class MetricsNotAsked(LongtakeError):
    """Nobody has asked for metrics of this job."""

    code = "metrics_not_asked"


class MetricsNotReady(LongtakeError):
    """The video is not measured yet."""

    code = "metrics_not_ready"


class MeasuringFailed(LongtakeError):
    """The video could not be measured."""

    code = "measuring_failed"


class VideoUnmeasurable(LongtakeError):
    """The final video is missing, unreadable or too long to be measured."""

    code = "video_unmeasurable"


class ThumbnailNotReady(LongtakeError):
    """There is no picture before the first chunk."""

    code = "thumbnail_not_ready"


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
        """`total_bytes` is None if unknown."""
        has = "less" if total_bytes is None else f"{total_bytes} bytes"
        super().__init__(f"the video has {has}", fix="ask for a range within it")
        self.total_bytes = total_bytes


class MediaBusy(LongtakeError):
    """Too many videos are being sent already."""

    code = "media_busy"


class TooManyMediaStreamsOfClient(LongtakeError):
    """This client has reached its limit of simultaneous videos."""

    code = "too_many_media_streams_of_client"


class StaleLease(LongtakeError):
    """Another worker holds a newer lease on this lane; nothing was committed."""

    code = "stale_lease"


class Interrupted(LongtakeError):
    """The chunk was stopped between two denoising steps; nothing was committed."""

    code = "interrupted"


class NotFinite(LongtakeError):
    """A network produced NaN or infinite values."""

    code = "not_finite"


class InvalidChunk(LongtakeError):
    """The engine returned something other than the chunk that was asked for."""

    code = "engine_error"


class ChunkNotRepeatable(LongtakeError):
    """A damaged chunk cannot be made again as it was."""

    code = "chunk_not_repeatable"


class SourceGone(LongtakeError):
    """The job whose chunks a branch shares is gone."""

    code = "source_gone"
