"""Commits in the background without threads, at either end of the time that they may take: tests are deterministic."""

from __future__ import annotations

from collections.abc import Callable

from core.service.domain.schema import JobRecord


class AtOnce:
    """Committed before the next chunk begins. worker.lanes.ahead.PendingCommit"""

    def __init__(self, commit: Callable[[], JobRecord]) -> None:
        self.done = True
        self._record: JobRecord | None = None
        self._error: Exception | None = None
        try:
            self._record = commit()
        except Exception as error:  # raised where the result is asked for
            self._error = error

    def result(self, check: Callable[[], None]) -> JobRecord:
        del check
        if self._error is not None:
            raise self._error
        assert self._record is not None
        return self._record


class Late:
    """Begun when the next chunk is made, and somebody waits. worker.lanes.ahead.PendingCommit"""

    def __init__(self, commit: Callable[[], JobRecord]) -> None:
        self.done = False
        self._commit = commit
        self._result: AtOnce | None = None

    def result(self, check: Callable[[], None]) -> JobRecord:
        self.done = True
        self._result = self._result or AtOnce(self._commit)
        return self._result.result(check)
