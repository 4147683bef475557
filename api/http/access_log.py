"""Keeps queries out of the access log: tokens in them open links, and clients put keys there by mistake."""

from __future__ import annotations

import logging


class WithoutQueries(logging.Filter):
    """For uvicorn's access log, whose records have the path with its query as the third argument."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_without_query(arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


def _without_query(text: str) -> str:
    path, mark, _query = text.partition("?")
    return f"{path}?..." if mark else path
