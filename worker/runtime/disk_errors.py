"""Tells trouble with the worker's own disk, which is no job's fault, from errors of a job. Knows no job."""

from __future__ import annotations

import errno

_TROUBLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def is_disk_trouble(error: BaseException) -> bool:
    """Whether `error`, or what caused it, is a disk that is full or read-only. FFmpeg's errors have an errno, too."""
    seen = set[int]()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if getattr(link, "errno", None) in _TROUBLE:
            return True
        seen.add(id(link))
        link = link.__cause__ or link.__context__
    return False
