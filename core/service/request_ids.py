"""The id of the HTTP request that the current code works for: X-Request-Id of its answer, and in its log lines.

The API sets it for each request, a worker for each piece of a job: the id of the request that created the job.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

LOG_SUFFIX = "%(request)s"
"""What a log format ends in: " [request ID]", or nothing outside of a request."""
_VALID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_SECRET = re.compile(r"(?<![A-Za-z0-9])(?:lt|whsec)_[\w-]{8,}", re.ASCII)
"""An API key or a webhook secret: a client that sends one as its id must not find it in logs and records."""
_current = ContextVar[str | None]("request_id", default=None)


def current_request_id() -> str | None:
    """The id of the request that this thread or task works for; None outside of one."""
    return _current.get()


def accepted_request_id(given: str | None) -> str:
    """The id that a client has `given` if it is 1 to 128 of A-Z a-z 0-9 . _ - and has no key of ours in it, else a new
    one of 32 characters."""
    is_usable = given is not None and _VALID.fullmatch(given) and not _SECRET.search(given)
    return given if given is not None and is_usable else secrets.token_hex(16)


def set_request_id(request_id: str) -> None:
    """For the rest of this task; tasks and threads of anyio that begin later inherit it."""
    _current.set(request_id)


@contextmanager
def working_for(request_id: str | None) -> Generator[None]:
    """Within it, the current request is `request_id`."""
    before = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(before)


def put_request_ids_into_log_records() -> None:
    """Give every log record of this process the attribute of LOG_SUFFIX. Called once, before logging is set up."""
    logging.setLogRecordFactory(_with_request(logging.getLogRecordFactory()))


def _with_request(make: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    def made(*args: object, **kwargs: object) -> logging.LogRecord:
        record, request_id = make(*args, **kwargs), _current.get()
        record.request = f" [request {request_id}]" if request_id else ""
        return record

    return made
