"""Recognizes errors of the own disk, which are no fault of what was being made."""

from __future__ import annotations

import errno

_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def is_disk_error(error: BaseException) -> bool:
    """Whether `error` or one of its causes is a full or read-only disk."""
    return disk_error_number(error) is not None


def disk_error_number(error: BaseException) -> int | None:
    """The errno of `error` or one of its causes, if it is that of a full or read-only disk. FFmpeg's errors have one,
    too."""
    seen = set[int]()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if (number := getattr(link, "errno", None)) in _DISK_ERRORS:
            return number
        seen.add(id(link))
        link = link.__cause__ or link.__context__
    return None
