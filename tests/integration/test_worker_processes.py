"""Worker processes under their supervisor: pinned, restarted, drained.

The jobs here go in by store and queue, as the API leaves them. What users see of a failing worker is in
test_recovery.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cli.processes.stack import settings_environment
from core.service.clock import SystemClock
from core.service.domain.ports import WorkerStatus
from core.service.domain.schema import JobRecord, JobStatus, Lane
from core.service.redis.job_store import RedisJobStore
from core.service.redis.queue import CeleryTaskQueue, make_celery_app
from tests.helpers.deadline import eventually
from tests.helpers.jobs import job_spec, progress_of
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service

JOB = "job_a"
STEPS = 5000
STEP_SECONDS = 0.1
"""A chunk of the `endless` preset takes eight minutes: whoever waits for its end instead of the next step fails the
test."""
PROMPT_SECONDS = 60.0

Workers = subprocess.Popen[bytes]
"""A supervisor with its worker processes."""


class Floor:
    """Redis and S3, and workers started by hand."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.store = RedisJobStore(service.redis(), SystemClock(), retention_seconds=3600)
        self.queue = CeleryTaskQueue(make_celery_app(service.settings), service.redis_database(1))

    def submit(self, model: str = "endless") -> JobRecord:
        spec = job_spec(
            prompt="a red square", negative_prompt="", num_frames=32, fps=8, seed=1, model=model, guidance_scale=1,
            num_inference_steps=4,
        )  # fmt: skip
        record = JobRecord(id=JOB, status=JobStatus.QUEUED, spec=spec, created_at=SystemClock().now())
        self.store.create(record)
        self.queue.wake(Lane.GENERATE, model, JOB)
        return record

    def wait_for_step(self, least: int = 1) -> None:
        def reached() -> bool:
            progress = progress_of(self.store, JOB)
            return progress is not None and progress.step >= least

        eventually(reached, f"step {least}")

    def start(self, *arguments: str) -> Workers:
        """`longtake worker` with these arguments, for two GPUs, which need not exist, unless they say otherwise."""
        own = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "0,1"}
        environment = {**os.environ, **settings_environment(self.service.settings), **own}
        command = [sys.executable, "-m", "cli.main", "worker", *arguments]
        with (self.service.folder / "workers.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def wait_for_workers(self, count: int, *states: str) -> list[WorkerStatus]:
        def all_there() -> list[WorkerStatus] | None:
            found = [status for status in self.service.workers() if status.state in (states or ("ready",))]
            return found if len(found) == count else None

        return eventually(all_there, f"{count} workers {states}", seconds=120)


@pytest.fixture
def floor(tmp_path: Path) -> Iterator[Floor]:
    presets = tmp_path / "presets"
    write_fake_preset(presets, "fake")
    write_fake_preset(presets, "endless", steps=STEPS, step_seconds=STEP_SECONDS)
    service = Service(tmp_path, presets, default_model="fake")
    try:
        service.start_servers()
        yield Floor(service)
    finally:
        service.close()


@pytest.fixture
def children() -> Iterator[list[Workers]]:
    """What a test starts; killed at the end where the test has not stopped it."""
    started: list[Workers] = []
    yield started
    for child in started:
        child.kill()
        child.wait()


def end_of(child: Workers) -> int:
    """Exit code of a supervisor told to stop, within PROMPT_SECONDS."""
    child.terminate()
    return child.wait(PROMPT_SECONDS)


def test_one_process_per_gpu_each_sees_its_own_and_one_that_dies_is_replaced(
    floor: Floor, children: list[Workers]
) -> None:
    children.append(floor.start("--gpus", "auto", "--model", "fake"))
    workers = floor.wait_for_workers(2)
    assert sorted(str(worker.cuda_visible_devices) for worker in workers) == ["0", "1"]
    for worker in workers:
        environment = psutil.Process(worker.pid).environ()
        assert environment["CUDA_VISIBLE_DEVICES"] == worker.cuda_visible_devices
    victim = workers[0]
    os.kill(victim.pid, signal.SIGKILL)

    def replaced() -> bool:
        pids = {w.pid for w in floor.service.workers() if w.cuda_visible_devices == victim.cuda_visible_devices}
        return bool(pids - {victim.pid})

    eventually(replaced, "another process on the same GPU")
    assert end_of(children[0]) == 0
    assert not any(psutil.pid_exists(worker.pid) for worker in workers)


def test_two_processes_share_the_work_of_one_model(floor: Floor, children: list[Workers]) -> None:
    children.append(floor.start("--gpus", "auto", "--model", "endless"))
    floor.wait_for_workers(2)
    floor.submit()
    floor.wait_for_step()
    (busy,) = floor.wait_for_workers(1, "busy")
    os.kill(busy.pid, signal.SIGTERM)
    other = eventually(
        lambda: next((w for w in floor.service.workers() if w.state == "busy" and w.pid != busy.pid), None),
        "the other process to take the job over",
    )
    assert other.job_id == JOB


def test_a_stopped_worker_gives_its_chunk_back_at_the_next_step(floor: Floor, children: list[Workers]) -> None:
    children.append(floor.start("--gpus", "none", "--model", "endless"))
    floor.submit()
    floor.wait_for_step()
    assert end_of(children[0]) == 0
    record = floor.store.get(JOB)
    assert (record.status, record.lane(Lane.GENERATE).attempts) == (JobStatus.RUNNING, 0)
    assert not floor.store.lease_alive(JOB, Lane.GENERATE)
    broker = floor.service.redis_database(1)
    assert (broker.llen("generate.endless"), broker.hlen("unacked")) == (1, 0)
    assert floor.service.workers() == []


def test_a_cancel_takes_effect_at_the_next_step(floor: Floor, children: list[Workers]) -> None:
    children.append(floor.start("--gpus", "none", "--model", "endless"))
    floor.submit()
    floor.wait_for_step()
    floor.store.request_cancel(JOB)
    eventually(lambda: floor.store.get(JOB).status is JobStatus.FINALIZING, "the job to be wound up")


def test_the_lease_of_a_killed_worker_is_released_at_once(floor: Floor, children: list[Workers]) -> None:
    """The lease would live for ten minutes, and no janitor runs here."""
    floor.service.choose(lease_ttl_seconds=600)
    children.append(floor.start("--gpus", "auto", "--model", "endless"))
    floor.wait_for_workers(2)
    floor.submit()
    floor.wait_for_step()
    (busy,) = floor.wait_for_workers(1, "busy")
    os.kill(busy.pid, signal.SIGKILL)
    eventually(lambda: floor.store.get(JOB).lane(Lane.GENERATE).token == 2, "the other process to take the job over")
    lane = floor.store.get(JOB).lane(Lane.GENERATE)
    assert (lane.attempts, lane.deaths) == (0, 1)


def test_a_worker_that_is_not_ready_stops_on_sigterm(floor: Floor, children: list[Workers]) -> None:
    children.append(floor.start("--gpus", "none", "--model", "missing"))
    (worker,) = floor.wait_for_workers(1, "not_ready")
    assert "missing" in str(worker.reason)
    assert end_of(children[0]) == 0


def test_a_worker_stops_also_while_redis_is_away(floor: Floor, children: list[Workers]) -> None:
    children.append(floor.start("--gpus", "none", "--model", "fake"))
    floor.wait_for_workers(1)
    floor.service.redis_server.stop()
    assert end_of(children[0]) == 0


def test_a_worker_stops_also_while_redis_hangs(floor: Floor, children: list[Workers]) -> None:
    children.append(floor.start("--gpus", "none", "--model", "fake"))
    floor.wait_for_workers(1)
    os.kill(floor.service.redis_server.pid, signal.SIGSTOP)
    try:
        children[0].terminate()
        assert children[0].wait(60) == 0
    finally:
        os.kill(floor.service.redis_server.pid, signal.SIGCONT)


def test_workers_do_not_outlive_their_supervisor(floor: Floor, children: list[Workers]) -> None:
    children.append(floor.start("--gpus", "none", "--model", "fake"))
    (worker,) = floor.wait_for_workers(1)
    children[0].kill()
    children[0].wait()
    eventually(lambda: not psutil.pid_exists(worker.pid), "the orphan to end")
