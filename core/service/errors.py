"""Named errors of the service, each with a stable `code`, the field at fault and the fix.

LongtakeError
├── RequestError            the client's input is at fault; nothing was enqueued
│   ├── InvalidField            a field has a wrong type or value
│   ├── UnknownField            a field that no version knows
│   ├── FieldNotSupported       a field that this version has not built yet
│   ├── MalformedJson           the body is not JSON
│   ├── PromptTooLong           more tokens than the text encoder reads
│   ├── UnknownModel            no such preset
│   ├── TooManyFrames / TooFewFrames
│   └── WebhookUrlRefused       scheme, host or address not allowed
├── ServiceFull             too many jobs wait already
├── JobNotFound             no job with this id
├── JobStateConflict        the job's status does not allow this
├── VideoNotReady           the final video does not exist yet
├── PlaylistNotReady        the first chunk does not exist yet
├── StaleLease              another worker holds a newer fencing token; nothing was committed
├── Interrupted             cancel, drain or a lost lease stopped a chunk; nothing was committed
├── PresetError             a preset cannot be read or loaded
├── StoreError              Redis did not answer
├── StorageError            the object store refused or did not answer
└── SetupError              a missing binary, a port in use, a full disk: one sentence for a person

This module knows no HTTP status: api/problems.py maps the classes.
"""

from __future__ import annotations


class LongtakeError(Exception):
    """Something went wrong in Longtake."""

    code = "internal_error"

    def __init__(self, message: str | None = None, *, field: str | None = None, fix: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])
        self.field = field
        self.fix = fix

    @property
    def message(self) -> str:
        return str(self.args[0])


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


class UnknownModel(RequestError):
    """There is no such model."""

    code = "unknown_model"


class TooFewFrames(RequestError):
    """A video has at least 16 frames."""

    code = "too_few_frames"


class TooManyFrames(RequestError):
    """The video is longer than this service allows."""

    code = "too_many_frames"


class WebhookUrlRefused(RequestError):
    """The webhook URL is not allowed."""

    code = "webhook_url_refused"


class ServiceFull(LongtakeError):
    """Too many jobs are waiting already."""

    code = "service_full"


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


class StaleLease(LongtakeError):
    """Another worker holds a newer lease on this lane; nothing was committed."""

    code = "stale_lease"


class Interrupted(LongtakeError):
    """The chunk was stopped between two denoising steps; nothing was committed."""

    code = "interrupted"


class PresetError(LongtakeError):
    """The preset cannot be loaded."""

    code = "preset_unusable"


class StoreError(LongtakeError):
    """The store of the jobs did not answer."""

    code = "store_error"


class StorageError(LongtakeError):
    """The object store refused or did not answer."""

    code = "storage_error"


class ObjectNotFound(StorageError):
    """There is no object under this key."""

    code = "object_not_found"


class SetupError(LongtakeError):
    """Something on this machine keeps Longtake from starting."""

    code = "setup_error"
