"""A stateful hypothesis model of jobs, run in random orders on a real Redis.

Two workers, the API, a janitor and the webhook sender run one at a time and may stand still or die at any call of a
port (tests/helpers/job_life.py) while jobs are cancelled and deleted, Redis is wiped, servers go away, objects are
damaged and time passes. After every step the invariants below hold; in the end all is healed, and every job must end as
it should, with the bytes of a job to which nothing happened.

HYPOTHESIS_PROFILE=long runs for some minutes instead of seconds. A failure prints the steps, and a line
@reproduce_failure(...) that brings it back when it is put above `TestJobLife`.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

import worker.lanes.completion
import worker.lanes.server_access
from cli.processes.embedded import EmbeddedRedis
from core.service.domain.errors import JobNotFound
from core.service.domain.manifest import (
    job_id_of_manifest,
    job_prefix,
    manifest_key,
    metrics_key,
    refined_video_key,
    video_key,
)
from core.service.domain.schema import VARIANTS, EventType, JobEvent, JobMetrics, JobRecord, JobStatus, Lane, Variant
from core.service.domain.schema.older import totals_of
from core.service.domain.transitions import POISON_DEATHS, TOMBSTONE_TIME, awaits_measuring, has_final_video
from core.service.domain.uploads import upload_key
from core.service.records.orphans import find_orphans, remove
from core.service.redis.client import connect
from core.service.redis.upload_store import RedisUploadStore
from core.service.video.final_video import join_chunks
from tests.helpers.job_life import (
    PICTURE,
    Kind,
    SequentialServerCall,
    Service,
    Settled,
    Stop,
    StoreMode,
    baseline,
    durable_fields,
    measured_of,
    new_job,
)

pytestmark = pytest.mark.timeout(3600)
"""A failure is made smaller before it is shown, which takes minutes."""

MAX_JOBS = 4
QUIET_ROUNDS = 60
"""Janitor passes after which everything must have ended once all is healed."""
DAY = 86400.0
SHORT_TIMES = (1.0, 60.0)
LONG_TIMES = (TOMBSTONE_TIME.total_seconds() + 1, 8 * DAY)
"""Beyond a tombstone, beyond the retention. No process stands still for so long."""
END_EVENTS = (EventType.JOB_SUCCEEDED, EventType.JOB_FAILED, EventType.JOB_CANCELED)

_COMMON: dict[str, Any] = {
    "deadline": None,
    "print_blob": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
PROFILES = {
    "default": settings(max_examples=60, stateful_step_count=30, report_multiple_bugs=False, **_COMMON),
    "long": settings(max_examples=1000, stateful_step_count=50, report_multiple_bugs=False, **_COMMON),
}


@dataclass
class Life:
    """What the test knows of a job: what was asked for, and what was told as done."""

    job_id: str
    kind: Kind
    seed: int
    webhooks: bool
    accepted: bool = False
    cancel_tried: bool = False
    cancel_told: int | None = None
    """The generation of the job that was canceled."""
    delete_tried: bool = False
    delete_told: bool = False
    measure_told: bool = False
    """Asked for with the job, or later."""
    damaged: bool = False
    seen: JobRecord | None = None
    log: tuple[tuple[str, str, int, int | None], ...] = ()
    """Entries seen: id, type, version, index of the chunk."""

    def accept(self) -> None:
        self.accepted = True

    def cancel(self, generation: int) -> None:
        self.cancel_told = generation

    def delete(self) -> None:
        self.delete_told = True

    def ask_measuring(self) -> None:
        self.measure_told = True


class JobLife(RuleBasedStateMachine):
    """Rules are what may happen; methods that begin with `check_` are what must hold after each of them."""

    client: ClassVar[redis.Redis]
    jobs: Bundle[str] = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.service = Service(self.client)
        self.lives: dict[str, Life] = {}

    # What clients do

    @precondition(lambda self: len(self.lives) < MAX_JOBS and not self.service.others["api"].parked)
    @rule(
        target=jobs,
        kind=st.sampled_from(["plain", "streaming", "lockstep", "picture"]),
        webhooks=st.booleans(),
        measure=st.booleans(),
        stop=st.none() | st.builds(Stop, st.integers(1, 5), st.booleans()),
    )
    def submit(self, kind: Kind, webhooks: bool, measure: bool, stop: Stop | None) -> str:
        record = new_job(len(self.lives), kind, self.service.clock, webhooks=webhooks, measure=measure)
        life = self.lives[record.id] = Life(record.id, kind, record.spec.seed, webhooks, measure_told=measure)
        self.service.submit(record, life.accept, stop)
        return record.id

    @precondition(lambda self: not self.service.others["api"].parked)
    @rule(job=jobs, stop=st.none() | st.builds(Stop, st.integers(1, 5), st.booleans()))
    def cancel(self, job: str, stop: Stop | None) -> None:
        self.lives[job].cancel_tried = True
        record = self.service.record(job)
        told = partial(self.lives[job].cancel, record.generation if record else 0)
        self.service.cancel(job, told, stop)

    @precondition(lambda self: not self.service.others["api"].parked)
    @rule(job=jobs, stop=st.none() | st.builds(Stop, st.integers(1, 5), st.booleans()))
    def retry(self, job: str, stop: Stop | None) -> None:
        self.service.retry(job, stop)

    @precondition(lambda self: not self.service.others["api"].parked)
    @rule(job=jobs, stop=st.none() | st.builds(Stop, st.integers(1, 5), st.booleans()))
    def ask_measuring(self, job: str, stop: Stop | None) -> None:
        self.service.ask_measuring(job, self.lives[job].ask_measuring, stop)

    @precondition(lambda self: not self.service.others["api"].parked)
    @rule(job=consumes(jobs), stop=st.none() | st.builds(Stop, st.integers(1, 5), st.booleans()))
    def delete(self, job: str, stop: Stop | None) -> None:
        self.lives[job].delete_tried = True
        self.service.delete(job, self.lives[job].delete, stop)

    # What workers do

    @precondition(lambda self: self.lives)
    @rule(
        slot=st.sampled_from(["w1", "w2"]),
        lane=st.sampled_from(Lane),
        stop=st.none() | st.builds(Stop, st.integers(1, 24), st.booleans()),
    )
    def work(self, slot: str, lane: Lane, stop: Stop | None) -> None:
        """One piece, or the rest of the one in hand."""
        worker = self.service.workers[slot]
        if worker.process.parked:
            worker.process.go_on(stop)
        else:
            worker.work(lane, stop)

    @precondition(lambda self: self.lives)
    @rule(slot=st.sampled_from(["w1", "w2"]), lanes=st.lists(st.sampled_from(Lane), min_size=2, max_size=6))
    def works_on(self, slot: str, lanes: Sequence[Lane]) -> None:
        """Several pieces, so that jobs get far."""
        for lane in lanes:
            worker = self.service.workers[slot]
            if not worker.process.parked:
                worker.work(lane)
            self.holds()

    @precondition(lambda self: self.lives)
    @rule(slot=st.sampled_from(["w1", "w2"]), lane=st.sampled_from([Lane.GENERATE, Lane.REFINE]))
    def engine_fails(self, slot: str, lane: Lane) -> None:
        worker = self.service.workers[slot]
        if not worker.process.parked:
            worker.engine_fails = True
            worker.work(lane)
            worker.engine_fails = False

    @precondition(lambda self: any(awaits_measuring(life.seen) for life in self.lives.values() if life.seen))
    @rule(slot=st.sampled_from(["w1", "w2"]))
    def measuring_fails(self, slot: str) -> None:
        worker = self.service.workers[slot]
        if not worker.process.parked:
            worker.measuring_fails = True
            worker.work(Lane.MEASURE)
            worker.measuring_fails = False

    @precondition(lambda self: self.service.parked)
    @rule(data=st.data(), stop=st.none() | st.builds(Stop, st.integers(1, 8), st.booleans()))
    def wakes_up(self, data: st.DataObject, stop: Stop | None) -> None:
        name = data.draw(st.sampled_from(self.service.parked))
        self.service.process_of(name).go_on(stop)

    @precondition(lambda self: self.lives and not any(w.process.parked for w in self.service.workers.values()))
    @rule(
        lane=st.sampled_from(Lane),
        stands_at=st.builds(Stop, st.integers(3, 14), st.booleans()),
        other=st.none() | st.builds(Stop, st.integers(2, 14), st.booleans()),
        late=st.none() | st.builds(Stop, st.integers(1, 8), st.booleans()),
    )
    def is_overtaken(self, lane: Lane, stands_at: Stop, other: Stop | None, late: Stop | None) -> None:
        """A worker stands still for too long within a piece: the other one takes its lease, then it wakes up."""
        slow, fast = self.service.workers.values()
        slow.work(lane, stands_at)
        self.service.leases_run_out()
        fast.work(lane, other)
        self.holds()
        if slow.process.parked:
            slow.process.go_on(late)

    @precondition(lambda self: self.service.parked)
    @rule(data=st.data(), given_back=st.booleans())
    def dies(self, data: st.DataObject, given_back: bool) -> None:
        name = data.draw(st.sampled_from(self.service.parked))
        self.service.kill(name, given_back=given_back)

    @precondition(lambda self: any(worker.process.parked for worker in self.service.workers.values()))
    @rule(slot=st.sampled_from(["w1", "w2"]))
    def is_stopped(self, slot: str) -> None:
        self.service.workers[slot].stop()

    @precondition(lambda self: self.lives and not self.service.others["janitor"].parked)
    @rule(stop=st.none() | st.builds(Stop, st.integers(1, 24), st.booleans()))
    def janitor(self, stop: Stop | None) -> None:
        self.service.janitor(stop)

    @precondition(lambda self: self.lives and not self.service.others["sender"].parked)
    @rule(
        outcome=st.sampled_from(["delivered", "failed", "pending"]),
        stop=st.none() | st.builds(Stop, st.integers(1, 8), st.booleans()),
    )
    def webhooks(self, outcome: Settled, stop: Stop | None) -> None:
        self.service.send_webhooks(outcome, stop)

    # What happens to them

    @precondition(lambda self: self.lives)
    @rule()
    def leases_run_out(self) -> None:
        self.service.leases_run_out()

    @precondition(lambda self: self.lives)
    @rule(seconds=st.sampled_from(SHORT_TIMES))
    def time_passes(self, seconds: float) -> None:
        self.service.clock.advance(seconds)

    @precondition(lambda self: self.lives and not self.service.parked)
    @rule(seconds=st.sampled_from(LONG_TIMES))
    def days_pass(self, seconds: float) -> None:
        self.service.leases_run_out()
        self.service.clock.advance(seconds)

    @precondition(lambda self: self.lives)
    @rule()
    def redis_loses_everything(self) -> None:
        """What the manifests hold is what is left. A request ends within two seconds, before the rebuilding does."""
        self.service.kill("api", given_back=False)
        self.service.wipe()
        for life in self.lives.values():
            manifest = self.service.manifest(life.job_id)
            if life.job_id in self.service.storage.overtaken:
                life.cancel_told, life.measure_told = None, False
            if manifest is not None or not self.may_be_expired(life):
                life.seen = manifest
            life.log = life.log[: (manifest.num_events or 0) if manifest else 0]

    @precondition(lambda self: self.lives)
    @rule(mode=st.sampled_from(["up", "away", "deaf"]))
    def redis_is(self, mode: StoreMode) -> None:
        self.service.mode = mode

    @precondition(lambda self: self.lives)
    @rule(broken=st.booleans())
    def object_store_is(self, broken: bool) -> None:
        self.service.storage.broken = broken

    @precondition(lambda self: self.damageable())
    @rule(data=st.data(), missing=st.booleans())
    def an_object_is_damaged(self, data: st.DataObject, missing: bool) -> None:
        key = data.draw(st.sampled_from(self.damageable()))
        self.lives[key.split("/")[1]].damaged = True
        if missing:
            del self.service.storage.objects[key]
        else:
            self.service.storage.objects[key] = self.service.storage.objects[key][::-1]

    def damageable(self) -> Sequence[str]:
        """States, frames and chunks of jobs that are worked on; of what has ended nothing is made again."""
        running = [life.job_id for life in self.lives.values() if life.seen and life.seen.status is JobStatus.RUNNING]
        prefixes = tuple(job_prefix(job_id) for job_id in running)
        found = [key for key in self.service.storage.objects if key.startswith(prefixes)]
        return sorted(key for key in found if job_id_of_manifest(key) is None)

    # What must hold

    @invariant()
    def holds(self) -> None:
        for life in self.lives.values():
            record, log = self.service.record(life.job_id), self.service.events(life.job_id)
            self.check_what_was_deleted_stays_away(life)
            self.check_what_was_accepted_has_a_manifest(life)
            if record is not None and not record.delete_requested:
                self.look_at_what_an_older_manifest_gave_back(life, record)
                self.check_what_has_ended_stays_as_it_ended(life, record)
                self.check_chunks_follow_one_another(record)
                self.check_one_commit_a_chunk(record, log)
                self.check_events_are_told_once_and_in_order(life, record, log)
                self.check_the_manifest_is_the_record(record)
                self.check_only_the_engine_uses_up_tries(record)
                self.check_tokens_only_rise(life, record)
                self.check_a_cancel_is_kept(life, record)
                self.check_measuring_is_kept(life, record)
                life.seen = record
        self.check_no_stale_token_changed_anything()

    def look_at_what_an_older_manifest_gave_back(self, life: Life, record: JobRecord) -> None:
        """A process that stood still has put an older manifest after Redis was lost and before the job was rebuilt."""
        is_older = life.seen is not None and record.revision < life.seen.revision
        if is_older and life.job_id in self.service.storage.overtaken:
            life.seen, life.cancel_told, life.measure_told = None, None, False
            life.log = life.log[: record.num_events]

    def check_what_was_deleted_stays_away(self, life: Life) -> None:
        """Nobody sees a job again whose deletion was told as done, not after a wiped Redis either."""
        if life.delete_told and not self.service.storage.broken:
            assert life.job_id not in [record.id for record in self.service.store.list().jobs]
            with pytest.raises(JobNotFound):
                self.service.store.get(life.job_id)

    def check_what_was_accepted_has_a_manifest(self, life: Life) -> None:
        """202 means that the job survives the loss of Redis, until it is deleted or expired."""
        if life.accepted and not life.delete_tried and not self.may_be_expired(life):
            assert manifest_key(life.job_id) in self.service.storage.objects, life.job_id

    def check_what_has_ended_stays_as_it_ended(self, life: Life, record: JobRecord) -> None:
        """A terminal status is final, and so is all that was made, until a client lets the job go on. Measurements are
        added."""
        if life.seen is not None and life.seen.status.is_terminal and life.seen.generation == record.generation:
            assert record.measurements[: len(life.seen.measurements)] == life.seen.measurements
            measured = {"measurements", "measure_asked_at", "num_events", "webhooks_ended", "revision"}
            spec = life.seen.spec.model_copy(update={"measure": record.spec.measure})
            update = {name: getattr(record, name) for name in measured} | {"spec": spec}
            assert durable_fields(record) == durable_fields(life.seen.model_copy(update=update))

    def check_chunks_follow_one_another(self, record: JobRecord) -> None:
        """Chunk indices are contiguous from 0, frames as well; refined ones too, and never ahead of the preview."""
        for variant in VARIANTS:
            chunks = self.service.chunks(record.id, variant)
            totals = record.totals(variant)
            counted = totals_of(chunks).model_dump(include={"count", "num_frames", "last"})
            assert totals.model_dump(include={*counted}) == counted
            assert [chunk.index for chunk in chunks] == [*range(len(chunks))]
            ends = [chunk.first_frame + chunk.num_frames for chunk in chunks]
            assert [chunk.first_frame for chunk in chunks] == [0, *ends][: len(chunks)]
        assert record.refined.count <= record.chunks.count

    def check_one_commit_a_chunk(self, record: JobRecord, log: Sequence[JobEvent]) -> None:
        """The version counts commits, each chunk has one, and each is told once."""
        told = {kind: [_chunk(event) for event in log if event.type is kind] for kind in EventType}
        assert told[EventType.CHUNK_COMPLETED] == [*range(record.chunks.count)]
        assert told[EventType.CHUNK_REFINED] == [*range(record.refined.count)]
        assert record.version >= record.chunks.count + record.refined.count
        assert record.spec.refine is not None or record.version == record.chunks.count

    def check_events_are_told_once_and_in_order(self, life: Life, record: JobRecord, log: Sequence[JobEvent]) -> None:
        """Entry n of the log is n-0 and stays what it is, none is missing, and after the end comes what is measured."""
        assert [event.id for event in log] == [f"{number}-0" for number in range(1, (record.num_events or 0) + 1)]
        all_types = [event.type for event in log]
        measured = [number for number, kind in enumerate(all_types) if kind is EventType.JOB_MEASURED]
        assert len(measured) == len(record.measurements)
        assert all(all_types[number - 1] in (*END_EVENTS, EventType.JOB_MEASURED) for number in measured), all_types
        types = [kind for kind in all_types if kind is not EventType.JOB_MEASURED]
        assert types[0] is EventType.JOB_QUEUED
        ends = [number for number, kind in enumerate(types, start=1) if kind in END_EVENTS]
        goes_on = [number for number, kind in enumerate(types) if number and kind is EventType.JOB_QUEUED]
        assert ends == [*goes_on, *([len(types)] if record.status.is_terminal else [])], types
        assert len(goes_on) == record.generation
        told = tuple((event.id, str(event.type), int(event.data["version"]), _chunk(event)) for event in log)
        common = min(len(told), len(life.log))
        assert told[:common] == life.log[:common], "a client that goes on after an entry misses another"
        life.log = told

    def check_the_manifest_is_the_record(self, record: JobRecord) -> None:
        """But for leases and what need not last, unless the store knows that the manifest is behind."""
        manifest = self.service.manifest(record.id)
        behind = self.service.stale() | self.service.storage.overtaken
        if record.id not in behind and manifest is not None:
            assert durable_fields(manifest) == durable_fields(record)

    def check_only_the_engine_uses_up_tries(self, record: JobRecord) -> None:
        """No server that fails, no worker that dies and no wiped Redis counts as a try."""
        failures = self.service.engine_failures.count(record.id)
        lanes = [lane for lane in Lane if lane is not Lane.MEASURE]
        assert sum(record.lane(lane).attempts for lane in lanes) <= failures, record.lanes
        assert record.lane(Lane.MEASURE).attempts <= self.service.measuring_failures, record.lanes

    def check_tokens_only_rise(self, life: Life, record: JobRecord) -> None:
        """A fencing token is never given twice."""
        if life.seen is not None:
            assert all(record.lane(lane).token >= life.seen.lane(lane).token for lane in Lane)

    def check_no_stale_token_changed_anything(self) -> None:
        """Who has lost its lease to another changes no record any more."""
        assert self.service.fence_broken == []

    def check_a_cancel_is_kept(self, life: Life, record: JobRecord) -> None:
        """A cancel that was told as done is not forgotten."""
        assert record.cancel_requested or life.cancel_told is None or life.cancel_told < record.generation

    def check_measuring_is_kept(self, life: Life, record: JobRecord) -> None:
        """Metrics that were asked for are not forgotten."""
        assert record.spec.measure or not (life.accepted and life.measure_told)

    def may_be_expired(self, life: Life) -> bool:
        ends = life.seen.expires_at if life.seen else None
        return ends is not None and ends <= self.service.clock.now()

    # The end

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.heal()
                self.come_to_rest()
                self.check_all_have_ended_as_they_should()
                self.check_all_webhooks_have_arrived()
                self.check_nothing_is_left_over()
        finally:
            self.service.kill_all()

    def heal(self) -> None:
        """All servers are back, and whoever stood still wakes up."""
        self.service.mode, self.service.storage.broken = "up", False
        while parked := self.service.parked:
            self.service.process_of(parked[0]).go_on()
            self.holds()

    def come_to_rest(self) -> None:
        """Nobody does anything but answer messages and look after the rest now and then."""
        for number in range(QUIET_ROUNDS):
            self.service.leases_run_out()
            self.service.clock.advance(60.0)
            self.service.janitor()
            self.service.take_messages(("w1", "w2")[number % 2])
            self.holds()
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
                assert life.delete_tried or not life.accepted or self.may_be_expired(life), life
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
        uploads = RedisUploadStore(self.client)
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


def _chunk(event: JobEvent) -> int | None:
    chunk = event.data.get("chunk")
    return None if chunk is None else int(chunk["index"])


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


@pytest.fixture(scope="module", autouse=True)
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server, connect(server.url()) as client:
        JobLife.client = client
        yield


@pytest.fixture(scope="module", autouse=True)
def _calls_in_order() -> Iterator[None]:
    """No port is patched, only the threads in which ports are called: see SequentialServerCall."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (worker.lanes.completion, worker.lanes.server_access):
            patch.setattr(module, "ServerCall", SequentialServerCall)
        yield


TestJobLife = JobLife.TestCase
TestJobLife.settings = PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "default")]
