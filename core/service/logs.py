"""How every process logs: lines of text, or one JSON object a line (LONGTAKE_LOG_FORMAT=json).

What the current code works on is in context variables, so that a line says it wherever it is written: the request in
core/service/request_ids.py, the job and its chunk here. Threads that wait for a server inherit both
(worker/runtime/server_retry.py).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

from core.service.request_ids import current_request_id, put_request_ids_into_log_records
from core.service.settings import Settings

_work = ContextVar[tuple[str | None, int | None]]("work", default=(None, None))
_CUT = "..."
_SECRETS = (
    re.compile(r"((?<=[^\s?])\?)\S+"),  # a query: clients may write quotes and brackets into it
    re.compile(r"(://)[^\s/]+(?=@)"),  # user and password of a URL, up to its last @: passwords may have some
    re.compile(r"(\b(?:bearer|basic)\s+)[\w.~+/=-]+", re.IGNORECASE),
    re.compile(r"(\b(?:lt|whsec)_)[\w+/=-]{8,}"),  # an API key, a webhook secret
)
"""What comes after the first group is cut out of JSON lines."""


@contextmanager
def working_on(job_id: str | None, chunk: int | None = None) -> Generator[None]:
    """Within it, JSON lines name this job and this chunk (its index)."""
    before = _work.set((job_id, chunk))
    try:
        yield
    finally:
        _work.reset(before)


def without_secrets(text: str) -> str:
    """`text` without queries of URLs and paths, passwords in URLs, bearer tokens, API keys and webhook secrets."""
    for secret in _SECRETS:
        text = secret.sub(rf"\g<1>{_CUT}", text)
    return text


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object. `worker_id`: name of this worker process."""

    def __init__(self, worker_id: str | None = None) -> None:
        super().__init__()
        self._worker_id = worker_id

    def format(self, record: logging.LogRecord) -> str:
        job_id, chunk = _work.get()
        known = {
            "request_id": current_request_id(),
            "job_id": job_id,
            "chunk": chunk,
            "worker_id": self._worker_id,
            "error": self._error_of(record),
        }
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
            **{name: value for name, value in known.items() if value is not None},
        }
        return json.dumps(line)

    def _error_of(self, record: logging.LogRecord) -> str | None:
        """The traceback and the stack of a record."""
        parts = [self.formatException(record.exc_info)] if record.exc_info and record.exc_info[0] else []
        parts += [self.formatStack(record.stack_info)] if record.stack_info else []
        return without_secrets("\n".join(parts)) or None


def set_up_logs(
    settings: Settings, text_format: str, *, worker_id: str | None = None, stream: TextIO | None = None
) -> None:
    """Set up the root logger of this process, once. `text_format`: of lines of text, may end in
    request_ids.LOG_SUFFIX. `stream`: standard error unless given."""
    put_request_ids_into_log_records()
    handler = logging.StreamHandler(stream)
    is_json = settings.log_format == "json"
    handler.setFormatter(JsonLines(worker_id) if is_json else logging.Formatter(text_format))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
