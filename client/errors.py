"""Exceptions of the client. All are ClientError; `fix` says what to do, if that is known."""

from __future__ import annotations

from http import HTTPStatus


class ClientError(Exception):
    """Base of every exception that the client raises."""

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class ApiError(ClientError):
    """The API, or the object storage behind one of its URLs, answered with an error status.

    `status` is the HTTP status. `code` is the API's stable error code (docs/http-api.md#errors), or None if a
    proxy or the storage answered. `field` is the request field at fault. `retry_after_seconds` is the answer's
    Retry-After: set if the same request can succeed later. `request_id` is the answer's X-Request-Id, by which the
    operator finds the request in the logs.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        field: str | None = None,
        fix: str | None = None,
        retry_after_seconds: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, fix=fix)
        self.status = status
        self.code = code
        self.field = field
        self.retry_after_seconds = retry_after_seconds
        self.request_id = request_id

    def __str__(self) -> str:
        is_named = not self.field or self.message.startswith(self.field)
        return self.message if is_named else f"{self.field}: {self.message}"


class InvalidRequest(ApiError):
    """400 to 499 without a class of its own: the request is wrong; `field` and `fix` say what to change."""


class KeyRefused(ApiError):
    """401: the request needs an API key, and this one is missing, wrong or revoked."""


class Forbidden(ApiError):
    """403: the key's scope does not suffice, or a link has expired."""


class NotFound(ApiError):
    """404: there is no such job, upload or key, or it belongs to another key; or it is not there yet."""


class Conflict(ApiError):
    """409: the job's status does not allow it."""


class LimitReached(ApiError):
    """429: a limit of the key or of the service; `retry_after_seconds` says when to come back."""


class ServiceUnavailable(ApiError):
    """408, 502, 503 or 504: the service, or what is before or behind it, cannot answer now."""


_CLASSES: dict[int, type[ApiError]] = {
    HTTPStatus.UNAUTHORIZED: KeyRefused,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.TOO_MANY_REQUESTS: LimitReached,
    HTTPStatus.REQUEST_TIMEOUT: ServiceUnavailable,
    HTTPStatus.BAD_GATEWAY: ServiceUnavailable,
    HTTPStatus.SERVICE_UNAVAILABLE: ServiceUnavailable,
    HTTPStatus.GATEWAY_TIMEOUT: ServiceUnavailable,
}


def class_of(status: int) -> type[ApiError]:
    """The exception for an error status; ApiError itself for a status of 500 and above that has none."""
    is_request = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return _CLASSES.get(status, InvalidRequest if is_request else ApiError)


class ApiUnreachable(ClientError):
    """The API cannot be reached, or the connection broke."""


class StorageUnreachable(ClientError):
    """The object storage behind a URL of the API (an upload, a redirected video) cannot be reached."""


class ApiUnreadable(ClientError):
    """The answer does not fit this client's schema: it is no JSON, or the API is of another version."""


class WaitTimeout(ClientError):
    """`wait` ended before the job did. The job goes on."""
