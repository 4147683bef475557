"""What must hold once all is healed and at rest: every job has ended as it should, and nothing is left over."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from functools import cache
from itertools import takewhile
from pathlib import Path

from core.service.domain.manifest import metrics_key, refined_video_key, video_key
from core.service.domain.schema import EventType, JobEvent, JobMetrics, JobRecord, JobStatus, Lane, Variant
from core.service.domain.transitions import POISON_DEATHS, TOMBSTONE_TIME, awaits_measuring, has_final_video
from core.service.domain.uploads import upload_key
from core.service.records.orphans import find_orphans, remove
from core.service.redis.upload_store import RedisUploadStore
from core.service.video.final_video import join_chunks
from tests.helpers.job_life.engines import measured_of
from tests.helpers.job_life.invariants import Invariants
from tests.helpers.job_life.jobs import PICTURE
from tests.helpers.job_life.lives import Life
from tests.helpers.job_life.videos import baseline

QUIET_ROUNDS = 60
"""Janitor passes after which everything must have ended once all is healed."""
DAY = 86400.0


class Ending:
    """The end of a run. Its methods are called in their order; the invariants hold meanwhile."""

    def __init__(self, invariants: Invariants) -> None:
        self.service, self.lives, self.invariants = invariants.service, invariants.lives, invariants

    def heal(self) -> None:
        """All servers are back, and whoever stood still wakes up."""
        self.service.mode, self.service.storage.broken = "up", False
        while parked := self.service.parked:
            self.service.process_of(parked[0]).go_on()
            self.invariants.hold()

    def come_to_rest(self) -> None:
        """Nobody does anything but answer messages and look after the rest now and then."""
        for number in range(QUIET_ROUNDS):
            self.service.leases_run_out()
            self.service.clock.advance(60.0)
            self.service.janitor()
            self.service.take_messages(("w1", "w2")[number % 2])
            self.invariants.hold()
            if self.is_quiet():
                return
        raise AssertionError(f"not at rest: {[self.service.record(job_id) for job_id in self.lives]}")

    def is_quiet(self) -> bool:
        records = [record for job_id in self.lives if (record := self.service.record(job_id))]
        ended = all(record.status.is_terminal and not record.delete_requested for record in records)
        ended = ended and not any(awaits_measuring(record) for record in records)
        return ended and not self.service.stale() and not self.service.queue.messages

    def check_all_have_ended_as_they_should(self) -> None:
        for life in self.lives.values():
            record = self.service.record(life.job_id)
            assert record is None or not life.delete_told, life
            if record is not None and record.spec.measure and has_final_video(record):
                self.check_metrics(record)
            if record is None:
                assert life.delete_tried or not life.accepted or life.may_be_expired(self.service.clock.now()), life
            elif record.status is JobStatus.FAILED:
                self.check_failure(record)
            elif record.status is JobStatus.CANCELED:
                assert life.cancel_tried, life
                self.check_bytes(life, record)
            else:
                assert record.status is JobStatus.SUCCEEDED, record.status
                assert life.cancel_told is None or life.cancel_told < record.generation, life
                assert record.is_complete
                assert record.is_refined
                self.check_bytes(life, record)

    def check_failure(self, record: JobRecord) -> None:
        """A job fails by its engine, or because it ended so many workers."""
        assert record.error is not None
        if record.error.code == "poison_job":
            assert max(record.lane(lane).deaths for lane in Lane) >= POISON_DEATHS, record.lanes
        else:
            assert record.error.code == "engine_error", record.error
            assert self.service.engine_failures.count(record.id) >= self.service.settings.max_attempts

    def check_metrics(self, record: JobRecord) -> None:
        """They are those of the final videos, or measuring has failed so often, or ended so many workers."""
        measurement = record.measurement
        assert measurement is not None
        assert measurement.generation == record.generation
        if measurement.error is not None:
            often = self.service.measuring_failures >= self.service.settings.max_attempts
            assert measurement.error.code == "poison_job" or (measurement.error.code == "measuring_error" and often)
            return
        objects = self.service.storage.objects
        stored = JobMetrics.model_validate_json(objects[metrics_key(record.id, record.generation)])
        videos = {"preview": record.video_key, "refined": record.refined_video_key}
        assert stored.videos == {name: measured_of(objects[key]) for name, key in videos.items() if key is not None}

    def check_bytes(self, life: Life, record: JobRecord) -> None:
        """Every chunk and video has the bytes of an undisturbed run. A cancelled job ends before what is damaged."""
        undisturbed, objects = baseline(life.kind, life.seed), self.service.storage.objects
        lanes: tuple[tuple[Variant, tuple[bytes, ...], str | None, str], ...] = (
            ("preview", undisturbed.chunks, record.video_key, video_key(record.id, record.generation)),
            (
                "refined",
                undisturbed.refined,
                record.refined_video_key,
                refined_video_key(record.id, record.generation),
            ),
        )
        for variant, expected, named, key in lanes:
            chunks = self.service.chunks(record.id, variant)
            stored = [objects.get(chunk.key) for chunk in chunks]
            good = len(chunks)
            if record.status is JobStatus.CANCELED and life.damaged:
                good = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(stored, expected, strict=False)))
            assert _sums(stored[:good]) == _sums(expected[:good])
            assert named == (key if good else None), record
            assert not good or _sums([objects.get(key)]) == _sums([_joined(tuple(expected[:good]))])
        if record.status is JobStatus.SUCCEEDED:
            videos = [objects.get(key) for key in (record.video_key, record.refined_video_key) if key is not None]
            assert _sums(videos) == _sums([one for one in (undisturbed.video, undisturbed.refined_video) if one])

    def check_all_webhooks_have_arrived(self) -> None:
        """Every event that somebody wants to hear of was told, or given up, under one id."""
        for _ in range(2):
            self.service.clock.advance(DAY)
            self.service.send_webhooks("delivered")
        for life in self.lives.values():
            if life.webhooks and self.service.record(life.job_id) is not None:
                wanted = _webhook_ids(self.service.events(life.job_id))
                assert wanted <= self.service.settled, wanted - self.service.settled

    def check_nothing_is_left_over(self) -> None:
        """No object and no key of a job that is gone, and nothing that nobody needs."""
        self.service.clock.advance(TOMBSTONE_TIME.total_seconds() + 60)
        self.service.janitor()
        self.service.janitor()
        uploads = RedisUploadStore(self.service.redis)
        found = [*find_orphans(self.service.store, self.service.storage, uploads)]
        found = [orphan for orphan in found if orphan.name != upload_key(PICTURE)]
        unsure = [orphan for orphan in found if any(self.is_unsure(life, orphan.name) for life in self.lives.values())]
        assert found == unsure
        for orphan in unsure:
            remove(orphan, self.service.store, self.service.storage)
        for life in self.lives.values():
            if self.service.record(life.job_id) is None:
                assert self.service.traces(life.job_id) == []

    def is_unsure(self, life: Life, name: str) -> bool:
        """The API has died or lost its servers while it accepted the job: `longtake gc` is for that."""
        return not life.accepted and life.job_id in name


def _sums(objects: Sequence[bytes | None]) -> list[str | None]:
    """Short enough to be shown."""
    return [None if data is None else hashlib.sha256(data).hexdigest()[:12] for data in objects]


def _is_told(event: JobEvent) -> bool:
    return event.type not in {EventType.JOB_QUEUED, EventType.JOB_STARTED}


def _webhook_ids(log: Sequence[JobEvent]) -> set[str]:
    """Of all events of a job that are told, its log being `log`."""
    found, generation, measured = set[str](), 0, 0
    for event in log:
        generation = event.data.get("generation", generation)
        if _is_told(event):
            name = str(event.type).replace(".", "_")
            if event.type is EventType.JOB_MEASURED:
                measured += 1
                name = f"measured_{_letters(measured)}"
            run = f"run_{_letters(generation)}_" if generation else ""
            found.add(f"msg_{event.job_id.removeprefix('job_')}_{event.data['version']}_{run}{name}")
    return found


def _letters(number: int) -> str:
    return "".join(chr(ord("a") + number // 26**place % 26) for place in (2, 1, 0))


@cache
def _joined(chunks: tuple[bytes, ...]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        join_chunks(chunks, video)
        return video.read_bytes()
