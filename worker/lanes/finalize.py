"""The finalize lane: join all chunks to one MP4 (another of the refined ones) by stream copy, make the thumbnail.

Runs on CPU workers, also for cancelled jobs: their video has the chunks that exist, and without any there is none.
Every chunk is checked against its checksum; a damaged one is made again before the job succeeds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from core.service.domain.manifest import refined_video_key, thumbnail_key, video_key
from core.service.domain.ports import Lease, Results
from core.service.domain.schema import ChunkRecord, JobRecord, JobStatus, Lane, Variant, WebhookEvent
from core.service.records.chunk_reads import READ_CHUNKS
from core.service.video.contact_sheet import thumbnail
from core.service.video.decode import decode_frames
from core.service.video.final_video import join_chunks
from worker import metrics
from worker.lanes.completion import clean_up, wake, wants_webhook
from worker.lanes.lane import Damaged, LaneWorker
from worker.lanes.lease_keeper import LeaseKeeper
from worker.lanes.server_access import NewObject
from worker.runtime.services import Services
from worker.runtime.temporary_folders import temporary_folder

logger = logging.getLogger(__name__)

_END_EVENTS: dict[JobStatus, WebhookEvent] = {
    JobStatus.SUCCEEDED: "job.succeeded",
    JobStatus.CANCELED: "job.canceled",
}


_Stored = tuple[str | None, int]
"""Key and size in bytes of a stored object."""


class Finalizer(LaneWorker):
    """Finalizes jobs of any model. Doing it twice stores the same objects."""

    lane = Lane.FINALIZE
    failure_code = "finalize_error"
    stops_on_cancel = False

    def __init__(self, services: Services) -> None:
        super().__init__(services, model="")

    def _next_piece(self, record: JobRecord) -> str:
        del record
        return "the final video"

    def _make_and_commit(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        results = self._store_results(record, keeper)
        ended = self._with_retries(lambda: self._services.store.finish(lease, results), keeper)
        metrics.job_ended(ended.status, self.lane)
        logger.info("%s: %s with %d frames", ended.id, ended.status, ended.frames_done)
        return ended

    def _after_commit(self, record: JobRecord) -> None:
        clean_up(self._services, record)
        event = _END_EVENTS.get(record.status)
        if event is not None and wants_webhook(record, event):
            self._services.queue.deliver_webhooks()
        wake(self._services, record, (Lane.MEASURE,))

    def _store_results(self, record: JobRecord, keeper: LeaseKeeper) -> Results:
        """Keys and size of both videos, key of the thumbnail; None for what has no chunks.

        Raises Damaged if chunks are not what was stored. A cancelled job gets the chunks before the damaged one.
        """
        job, run = record.id, record.generation
        video, video_bytes = self._store_video(record, "preview", video_key(job, run), keeper)
        refined, refined_bytes = self._store_video(record, "refined", refined_video_key(job, run), keeper)
        best = self._first(record, "refined" if refined else "preview", keeper) if video else None
        return Results(video, refined, self._store_thumbnail(record.id, best, keeper), video_bytes + refined_bytes)

    def _first(self, record: JobRecord, variant: Variant, keeper: LeaseKeeper) -> ChunkRecord:
        (first,) = self._with_retries(lambda: self._services.store.chunks(record.id, variant, 0, 1), keeper)
        return first

    def _store_video(self, record: JobRecord, variant: Variant, key: str, keeper: LeaseKeeper) -> _Stored:
        parts = self._chunks_bytes(record, variant, keeper)
        first = next(parts, None)
        if first is None:
            return None, 0
        with temporary_folder() as folder:
            video = Path(folder) / "video.mp4"
            join_chunks(chain([first], parts), video)
            put = partial(self._services.storage.put_file, key, video, "video/mp4")
            self._call(put, keeper).result(self._check_often(keeper))
            size_bytes = video.stat().st_size
            metrics.bytes_stored(size_bytes)
            return key, size_bytes

    def _store_thumbnail(self, job_id: str, best: ChunkRecord | None, keeper: LeaseKeeper) -> str | None:
        self._check_stop(keeper)
        if best is None:
            return None
        key, picture = thumbnail_key(job_id), thumbnail(decode_frames(self._get(best.key, keeper)))
        self._put([NewObject(key, picture, "image/jpeg")], keeper)
        return key

    def _chunks_bytes(self, record: JobRecord, variant: Variant, keeper: LeaseKeeper) -> Iterator[bytes]:
        """The stored bytes of each chunk, in order."""
        chunks = self._each_chunk(record, variant, keeper)
        for chunk in chunks:
            data = self._chunk_bytes(chunk, keeper)
            if data is None and record.cancel_requested:
                return
            if data is None:
                raise Damaged(refine_from=0) if variant == "refined" else self._damage(chunk, chunks, keeper)
            yield data

    def _each_chunk(self, record: JobRecord, variant: Variant, keeper: LeaseKeeper) -> Iterator[ChunkRecord]:
        """Every chunk in order, many at a time."""
        store = self._services.store
        for start in range(0, record.totals(variant).count, READ_CHUNKS):
            read = partial(store.chunks, record.id, variant, start, start + READ_CHUNKS)
            yield from self._with_retries(read, keeper)

    def _damage(self, first: ChunkRecord, others: Iterable[ChunkRecord], keeper: LeaseKeeper) -> Damaged:
        """Chunk `first` is damaged; the others are checked too, so that one repair makes all of them again."""
        later = [chunk.index for chunk in others if self._chunk_bytes(chunk, keeper) is None]
        return Damaged((first.index, *later))

    def _chunk_bytes(self, chunk: ChunkRecord, keeper: LeaseKeeper) -> bytes | None:
        """None if the object is missing or damaged."""
        self._check_stop(keeper)
        return self._get_checked(chunk.key, chunk.sha256, keeper)
