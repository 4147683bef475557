"""How the readers of images and videos tell what is odd about a file, but possible. Knows no file."""

from __future__ import annotations

from collections.abc import Callable

from core.service.schema import JobWarning

Warn = Callable[[JobWarning], None]
"""Takes one warning; called at most once for each code."""


def no_warnings(_: JobWarning) -> None:
    """For callers who do not care."""
