"""Keeps tokens of links out of the access log: whoever reads it could open the links."""

from __future__ import annotations

import logging
import re

_TOKEN = re.compile(r"(?<=[?&]token=)[^&]+")


class WithoutTokens(logging.Filter):
    """For uvicorn's access log, whose records have the path with its query as the third argument."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_TOKEN.sub("...", arg) if isinstance(arg, str) else arg for arg in record.args)
        return True
