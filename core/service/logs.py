"""How every process logs: lines of text, or one JSON object a line (LONGTAKE_LOG_FORMAT=json).

What the current code works on is in context variables, so that a line says it wherever it is written: the request in
core/service/request_ids.py, the job and its chunk here. Threads that wait for a server inherit both
(worker/runtime/server_retry.py).
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import SecretStr

from core.service.redaction import CUT, without_secrets
from core.service.request_ids import current_request_id, put_request_ids_into_log_records
from core.service.settings import Settings

_work = ContextVar[tuple[str | None, int | None]]("work", default=(None, None))
_SHORTEST = 8
"""Characters of a secret of the settings that is cut out wherever it is: a shorter one may be any word."""
logger = logging.getLogger(__name__)


@contextmanager
def working_on(job_id: str | None, chunk: int | None = None) -> Generator[None]:
    """Within it, JSON lines name this job and this chunk (its index)."""
    before = _work.set((job_id, chunk))
    try:
        yield
    finally:
        _work.reset(before)


def secrets_of(settings: Settings) -> Sequence[str]:
    """The secrets in the settings, as they may be in a text: keys, and passwords of Redis."""
    values = [getattr(settings, name) for name in type(settings).model_fields]
    words = [word for value in values if isinstance(value, SecretStr) for word in value.get_secret_value().split()]
    for url in (settings.redis_url, settings.broker_url):
        with suppress(ValueError):  # it is no URL: connecting will say so
            parts = urlsplit(url)
            words += [parts.password or "", unquote(parts.password or "")]
            words += parse_qs(parts.query).get("sentinel_password", [])
    return sorted({word for word in words if len(word) >= _SHORTEST}, key=len, reverse=True)


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object. `worker_id`: name of this worker process. `secrets`: texts that are cut out
    wherever they are (secrets_of)."""

    def __init__(self, worker_id: str | None = None, secrets: Sequence[str] = ()) -> None:
        super().__init__()
        self._worker_id = worker_id
        self._known = re.compile("|".join(map(re.escape, secrets))) if secrets else None

    def format(self, record: logging.LogRecord) -> str:
        job_id, chunk = _work.get()
        known = {
            "request_id": self._safe(current_request_id() or "") or None,  # a client may have sent a key as its id
            "job_id": job_id,
            "chunk": chunk,
            "worker_id": self._worker_id,
            "error": self._error_of(record),
        }
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._safe(record.getMessage()),
            **{name: value for name, value in known.items() if value is not None},
        }
        return json.dumps(line)

    def _error_of(self, record: logging.LogRecord) -> str | None:
        """The traceback and the stack of a record."""
        parts = [self.formatException(record.exc_info)] if record.exc_info and record.exc_info[0] else []
        parts += [self.formatStack(record.stack_info)] if record.stack_info else []
        return self._safe("\n".join(parts)) or None

    def _safe(self, text: str) -> str:
        return without_secrets(text if self._known is None else self._known.sub(CUT, text))


def set_up_logs(
    settings: Settings, text_format: str, *, worker_id: str | None = None, stream: TextIO | None = None
) -> None:
    """Set up the root logger of this process, once. `text_format`: of lines of text, may end in
    request_ids.LOG_SUFFIX. `stream`: standard error unless given."""
    put_request_ids_into_log_records()
    handler = logging.StreamHandler(stream)
    is_json = settings.log_format == "json"
    lines = JsonLines(worker_id, secrets_of(settings)) if is_json else logging.Formatter(text_format)
    handler.setFormatter(lines)
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    if is_json:
        logging.captureWarnings(capture=True)
        sys.excepthook = _log_uncaught
        threading.excepthook = lambda args: _log_uncaught(
            args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
        )


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends a process or a thread is a line like others: Python would write it as text, with all it says."""
    if not issubclass(kind, SystemExit | KeyboardInterrupt):
        logger.critical("uncaught %s", kind.__name__, exc_info=(kind, error, trace))


def quiet_libraries() -> None:
    """Keep libraries from logging what clients wrote. Called after the logs are set up, before the libraries are
    imported."""
    # At level INFO httpx logs every URL in full, and clients' URLs may hold secrets.
    logging.getLogger("httpx").setLevel(max(logging.WARNING, logging.getLogger().level))
    # Their warnings repeat the part of a prompt that is too long, and are written as text.
    for library in ("DIFFUSERS", "TRANSFORMERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
