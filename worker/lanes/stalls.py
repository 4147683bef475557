"""Counts stalls: where viewers who watch a job from its first chunk have to wait for the next one."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from functools import reduce

from core.service.domain.errors import JobNotFound
from core.service.domain.frame_rate import seconds_of
from core.service.domain.playback import Playback
from core.service.domain.ports import JobStore
from core.service.domain.schema import ChunkRecord, JobRecord
from core.service.domain.transitions.entries import stalls_at
from worker import metrics
from worker.lanes.server_access import ignore_store_errors

KEPT_CLOCKS = 64
"""Jobs whose clock is in memory, those worked on last."""

READ_CHUNKS = 256
"""Chunks that are read for a clock, the newest: an endless job may have tens of thousands."""


class StallCounter:
    """Follows the clocks of jobs. Records say nothing of earlier stalls, so a clock is found from the times of the
    chunks: of those that this process made it knows them. It reads those of other processes only when a chunk is late,
    and each once. Of more than READ_CHUNKS it reads the newest, and begins as if nobody had waited before them: if
    somebody had, and nobody has since, the next stall may be told too long, by what viewers were ahead there."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._clocks: OrderedDict[str, Playback] = OrderedDict()

    def committed(self, before: JobRecord, chunk: ChunkRecord) -> None:
        """`chunk` of the preview was committed next to those of `before`. Raises nothing if Redis does not answer or
        the job was deleted: that chunk is left out."""
        with ignore_store_errors(before.id), suppress(JobNotFound):
            clock = self._clock(before, chunk)
            if clock is None:
                return
            after, seconds = clock.followed_by(chunk, before.spec.fps)
            self._clocks[before.id] = after
            self._clocks.move_to_end(before.id)
            if len(self._clocks) > KEPT_CLOCKS:
                self._clocks.popitem(last=False)
            if seconds > 0:
                metrics.viewers_stalled(before.spec, seconds)

    def _clock(self, record: JobRecord, chunk: ChunkRecord) -> Playback | None:
        """The clock just before `chunk`; None if it is not needed."""
        first = record.chunks.before
        if chunk.index < first:  # a short last chunk with more frames: the next one is the first of this generation
            return None
        clock = self._clocks.get(record.id)
        if clock is None or clock.first != first or clock.next > chunk.index:
            clock = Playback.beginning_at(first)
        if clock.next == chunk.index:
            return clock
        # Earlier stalls make the true moment only later.
        unstalled = stalls_at(record, record.chunks)
        if unstalled is None or chunk.created_at.timestamp() <= unstalled:
            return None
        start = max(clock.next, chunk.index - READ_CHUNKS)
        missing = self._store.chunks(record.id, "preview", start, chunk.index)
        if start > clock.next:
            played = seconds_of(sum(one.num_frames for one in missing), record.spec.fps)
            clock = Playback(first, start, unstalled - played)
        return reduce(lambda before, one: before.followed_by(one, record.spec.fps)[0], missing, clock)
