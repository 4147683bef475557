"""A stateful hypothesis model of jobs, run in random orders on a real Redis.

Two workers, the API, a janitor and the webhook sender run one at a time and may stand still or die at any call of a
port (tests/helpers/job_life/) while jobs are cancelled and deleted, Redis is wiped, servers go away, objects are
damaged and time passes. After every step the invariants hold (invariants.py there); in the end all is healed, and every
job must end as it should, with the bytes of a job to which nothing happened (ending.py).

HYPOTHESIS_PROFILE=long runs for some minutes instead of seconds. A failure prints the steps, and a line
@reproduce_failure(...) that brings it back when it is put above `TestJobLife`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from cli.processes.embedded import EmbeddedRedis
from core.service.domain.manifest import job_id_of_manifest, job_prefix
from core.service.domain.schema import JobStatus, Lane
from core.service.domain.transitions import TOMBSTONE_TIME, awaits_measuring
from core.service.redis.client import connect
from tests.helpers.job_life.calls import calls_in_order
from tests.helpers.job_life.ending import DAY, Ending
from tests.helpers.job_life.invariants import Invariants
from tests.helpers.job_life.jobs import Kind, new_job
from tests.helpers.job_life.lives import Life
from tests.helpers.job_life.processes import Stop
from tests.helpers.job_life.servers import StoreMode
from tests.helpers.job_life.service import Service, Settled

pytestmark = pytest.mark.timeout(3600)
"""A failure is made smaller before it is shown, which takes minutes."""

MAX_JOBS = 4
SHORT_TIMES = (1.0, 60.0)
LONG_TIMES = (TOMBSTONE_TIME.total_seconds() + 1, 8 * DAY)
"""Beyond a tombstone, beyond the retention. No process stands still for so long."""

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


class JobLife(RuleBasedStateMachine):
    """Rules are what may happen; the invariants are what must hold after each of them."""

    client: ClassVar[redis.Redis]
    jobs: Bundle[str] = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.service = Service(self.client)
        self.lives: dict[str, Life] = {}
        self.checks = Invariants(self.service, self.lives)

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
            if manifest is not None or not life.may_be_expired(self.service.clock.now()):
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
        self.checks.hold()

    # The end

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                ending = Ending(self.checks)
                ending.heal()
                ending.come_to_rest()
                ending.check_all_have_ended_as_they_should()
                ending.check_all_webhooks_have_arrived()
                ending.check_nothing_is_left_over()
        finally:
            self.service.kill_all()


@pytest.fixture(scope="module", autouse=True)
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server, connect(server.url()) as client:
        JobLife.client = client
        yield


@pytest.fixture(scope="module", autouse=True)
def _calls_in_order() -> Iterator[None]:
    with calls_in_order():
        yield


TestJobLife = JobLife.TestCase
TestJobLife.settings = PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "default")]
