"""A chunk made ahead: while the chunk before it is encoded, stored and committed in the background."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from core.service.domain.chunk_order import next_chunk, next_new_chunk
from core.service.domain.engine import EngineChunk
from core.service.domain.errors import Interrupted
from core.service.domain.frame_plan import chunk_span, num_chunks
from core.service.domain.priority import Priority
from core.service.domain.prompt_schedule import without_prompts_from
from core.service.domain.schema import JobRecord, JobSpec
from worker.runtime.services import Activity
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

    def is_for(self, record: JobRecord) -> bool:
        """Whether the chunk is the next of `record`."""
        return follows(self.record, self.index, record)

    def made(self) -> MadeChunk:
        """The chunk. Raises the error that it came to."""
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def follows(begun_for: JobRecord, index: int, record: JobRecord) -> bool:
    """Whether chunk `index`, begun for an older record of the job, is the one that `record` misses next. Otherwise its
    prompt, its length or its input has changed meanwhile, or damaged chunks come first."""
    is_next = record.id == begun_for.id and next_chunk(record) == next_new_chunk(record) == index
    if not is_next or index >= num_chunks(record.spec.length):
        return False
    same_request = asked_of(record.spec, index) == asked_of(begun_for.spec, index)
    return same_request and record.prepared == begun_for.prepared


def asked_of(spec: JobSpec, index: int) -> JobSpec:
    """What chunk `index` is made from: the spec that its engine is given, of a video that ends with this chunk and
    whose client wants to know nothing and is in no hurry. An engine makes the same frames whatever comes later: it
    promises so, because jobs are extended, steered and branched."""
    span = chunk_span(index, spec.length)
    end = span.first_frame + span.num_frames
    untold = {"metadata": {}, "webhook_url": None, "webhook_events": (), "priority": Priority.NORMAL}
    asked = without_prompts_from(spec.for_engine(), end)
    return asked.model_copy(update={"num_frames": end, "endless_limit": None, **untold})


class PendingCommit(Protocol):
    """A commit in progress: worker.runtime.server_retry.ServerCall."""

    @property
    def done(self) -> bool: ...

    def result(self, check: Callable[[], None]) -> JobRecord: ...


InBackground = Callable[[Callable[[], JobRecord]], PendingCommit]
"""Starts a commit in a thread of its own."""

OnCommit = Callable[[JobRecord], None]
"""Called as soon as a chunk is committed, with the record after the commit."""

Publish = Callable[[OnCommit], JobRecord]
"""Encodes, stores and commits a chunk; returns the record after the commit when all is done."""


class Publication:
    """A chunk that is being encoded, stored and committed while the next one is made."""

    def __init__(
        self,
        in_background: InBackground,
        publish: Publish,
        is_next_wanted: Callable[[JobRecord], bool],
        activity: Activity,
    ) -> None:
        """Starts `publish`. `is_next_wanted` is asked about the record after the commit. `activity`: the task's, beside
        which `publish` runs."""
        self._is_next_wanted = is_next_wanted
        self._committed: JobRecord | None = None
        self._publish = publish
        self._activity = activity
        self._call = in_background(self._run)

    def is_committed(self) -> bool:
        """Cheap: called at each step of the next chunk. Raises Interrupted if that is not to be made: the chunk before
        it could not be committed, or the job has changed."""
        has_ended = self._call.done  # asked first: the commit comes before the end
        if self._committed is None:
            if has_ended:  # its error is raised where the result is waited for
                raise Interrupted("the chunk before was not committed")
            return False
        if not self._is_next_wanted(self._committed):
            raise Interrupted(f"{self._committed.id} has changed")
        return True

    def wait(self) -> None:
        """Wait for the end; the commit's own retries stop on a drain, a cancel and a lost lease."""
        with suppress(Exception):  # raised by result
            self._call.result(self._activity.waiting_for_beside)

    def result(self) -> JobRecord:
        """The record after the commit, at the end. Raises what publishing raised."""
        return self._call.result(_nothing)

    def _run(self) -> JobRecord:
        with self._activity.beside():
            return self._publish(self._note)

    def _note(self, committed: JobRecord) -> None:
        self._committed = committed


def _nothing() -> None: ...
