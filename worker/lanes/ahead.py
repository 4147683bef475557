"""A chunk made ahead: while the chunk before it is encoded, stored and committed in the background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from core.service.domain.chunk_order import next_chunk, next_new_chunk
from core.service.domain.engine import EngineChunk
from core.service.domain.errors import Interrupted
from core.service.domain.schema import JobRecord
from worker.runtime.stopwatch import Stopwatch


@dataclass(frozen=True)
class MadeChunk:
    """Chunk `index` as the engine made it, not yet stored. `watch` has its times so far."""

    index: int
    chunk: EngineChunk
    watch: Stopwatch


@dataclass(frozen=True)
class Ahead:
    """What came of a chunk made ahead for `record`, which did not have the chunk before: the chunk, or an error."""

    record: JobRecord
    index: int
    result: MadeChunk | Exception

    def made_for(self, record: JobRecord) -> MadeChunk | None:
        """The chunk, if it is the next of `record`. Raises the error that it came to."""
        if not follows(self.record, self.index, record):
            return None
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def follows(begun_for: JobRecord, index: int, record: JobRecord) -> bool:
    """Whether chunk `index`, begun for an older record of the job, is the one that `record` misses next. Otherwise its
    prompt, its length or its input has changed meanwhile, or damaged chunks come first."""
    is_next = record.id == begun_for.id and next_chunk(record) == next_new_chunk(record) == index
    return is_next and (record.spec, record.prepared) == (begun_for.spec, begun_for.prepared)


class PendingCommit(Protocol):
    """A commit in progress: worker.runtime.server_retry.ServerCall."""

    @property
    def done(self) -> bool: ...

    def result(self, check: Callable[[], None]) -> JobRecord: ...


InBackground = Callable[[Callable[[], JobRecord]], PendingCommit]
"""Starts a commit in a thread of its own."""


class Publication:
    """A chunk that is being encoded, stored and committed while the next one is made."""

    def __init__(self, commit: PendingCommit, is_next_wanted: Callable[[JobRecord], bool]) -> None:
        """`is_next_wanted` is asked about the record after the commit."""
        self._commit = commit
        self._is_next_wanted = is_next_wanted

    def is_over(self) -> bool:
        """Whether the chunk is committed. Cheap: called at each step of the next one. Raises Interrupted if that is not
        to be made: the chunk before it could not be committed, or the job has changed."""
        if not self._commit.done:
            return False
        try:
            committed = self.result()
        except Exception as error:  # raised where the result is waited for
            raise Interrupted("the chunk before was not committed") from error
        if not self._is_next_wanted(committed):
            raise Interrupted(f"{committed.id} has changed")
        return True

    def result(self) -> JobRecord:
        """Wait for the end; the commit's own retries stop on a drain, a cancel and a lost lease. Raises what it
        raised."""
        return self._commit.result(_nothing)


def _nothing() -> None: ...
