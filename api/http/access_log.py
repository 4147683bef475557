"""Keeps queries out of the access log: tokens in them open links, and clients put keys there by mistake."""

from __future__ import annotations

import logging
import re

_MARK = re.compile(r"(\?|%3f)", re.IGNORECASE)


class WithoutQueries(logging.Filter):
    """For uvicorn's access log, whose records have the path with its query as the third argument."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_without_query(arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


def _without_query(text: str) -> str:
    """Also without one that was encoded into the path by mistake."""
    path, mark, _query = _MARK.split(text, maxsplit=1) if _MARK.search(text) else (text, "", "")
    return f"{path}{mark}..." if mark else path
