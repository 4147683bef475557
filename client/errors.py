"""Exceptions of the client. All are ClientError; `fix` says what to do, if that is known."""

from __future__ import annotations


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
        return f"{self.field}: {self.message}" if self.field else self.message


class ApiUnreachable(ClientError):
    """The API cannot be reached, or the connection broke."""


class StorageUnreachable(ClientError):
    """The object storage behind a URL of the API (an upload, a redirected video) cannot be reached."""


class ApiUnreadable(ClientError):
    """The answer does not fit this client's schema: it is no JSON, or the API is of another version."""


class WaitTimeout(ClientError):
    """`wait` ended before the job did. The job goes on."""
