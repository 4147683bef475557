"""Errors of a request: the client's input is at fault and nothing was enqueued."""

from __future__ import annotations

from core.service.domain.errors.base import LongtakeError


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


class MalformedForm(RequestError):
    """The body is not valid multipart/form-data."""

    code = "malformed_form"


class InvalidIdempotencyKey(RequestError):
    """The Idempotency-Key is not usable."""

    code = "invalid_idempotency_key"


class IdempotencyKeyReused(RequestError):
    """The Idempotency-Key was sent with another request."""

    code = "idempotency_key_reused"


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
    """There is no such upload, or it has expired."""

    code = "upload_not_found"


class UploadIncomplete(RequestError):
    """The upload does not have the declared bytes."""

    code = "upload_incomplete"
