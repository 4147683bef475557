"""Log records as the processes of the service make them: with the id of the request."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

from core.service.request_ids import put_request_ids_into_log_records


@contextmanager
def request_ids_in_log_records() -> Generator[None]:
    before = logging.getLogRecordFactory()
    put_request_ids_into_log_records()
    try:
        yield
    finally:
        logging.setLogRecordFactory(before)


def requests_of(records: list[logging.LogRecord]) -> set[str]:
    """What LOG_SUFFIX writes at the end of these records' lines."""
    return {str(record.__dict__["request"]) for record in records}
