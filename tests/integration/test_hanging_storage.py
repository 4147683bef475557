"""The object store hangs or is away for long: workers stop on SIGTERM, notice a cancel, and keep finished chunks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from core.service.clock import SystemClock
from core.service.domain.schema import JobStatus, Lane
from core.service.redis.job_store import RedisJobStore
from core.service.s3.storage import WORKER
from tests.helpers.deadline import eventually
from tests.helpers.jobs import progress_of
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service

PROMPT_SECONDS = WORKER.read_seconds
"""A put that hangs is waited for so long, twice."""
AWAY_SECONDS = 8.0
"""Four leases, and several pauses of a worker that waits."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """No worker runs. A test stops those that it starts."""
    folder = tmp_path_factory.mktemp("service")
    write_fake_preset(folder / "presets", "slow", steps=8, step_seconds=0.1)
    with running_service(folder, folder / "presets", default_model="slow") as service:
        yield service


@pytest.fixture(scope="module")
def _workers(service: Service) -> None:  # pyright: ignore[reportUnusedFunction] - pytest calls it
    """A worker and a CPU worker run, to the end of this module."""
    service.start_workers("slow")


@contextmanager
def storage_hangs(service: Service) -> Generator[None]:
    os.kill(service.s3_server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(service.s3_server.pid, signal.SIGCONT)


def store_of(service: Service) -> RedisJobStore:
    return RedisJobStore(service.redis(), SystemClock(), retention_seconds=3600)


def wait_until_made(store: RedisJobStore, job_id: str) -> None:
    """The chunk's last step is behind it by more than encoding takes."""

    def made() -> bool:
        progress = progress_of(store, job_id)
        now = SystemClock().now()
        return (
            progress is not None and progress.step == progress.steps - 1 and (now - progress.at).total_seconds() > 1.5
        )

    eventually(made, "the chunk to be made")


def test_a_worker_in_a_put_that_hangs_exits_within_seconds_without_an_attempt(service: Service) -> None:
    worker = service.start_worker("generate", "slow")
    store = store_of(service)
    job = service.submit(model="slow", num_frames=32)
    eventually(lambda: progress_of(store, job.id), "the first step")
    with storage_hangs(service):
        wait_until_made(store, job.id)
        began = time.monotonic()
        service.stop(worker)
        assert time.monotonic() - began < PROMPT_SECONDS
        record = store.get(job.id)
        assert (record.status, record.lane(Lane.GENERATE).attempts) == (JobStatus.RUNNING, 0)
        assert not store.lease_alive(job.id, Lane.GENERATE)
    service.http.post(f"/jobs/{job.id}/cancel").raise_for_status()


def test_a_cancel_takes_effect_while_a_put_hangs(service: Service) -> None:
    worker = service.start_worker("generate", "slow")
    store = store_of(service)
    job = service.submit(model="slow", num_frames=32)
    eventually(lambda: progress_of(store, job.id), "the first step")
    with storage_hangs(service):
        wait_until_made(store, job.id)
        began = time.monotonic()
        store.request_cancel(job.id)
        eventually(lambda: store.get(job.id).status is JobStatus.FINALIZING, "the lane to be let go")
        assert time.monotonic() - began < PROMPT_SECONDS
    finalizing = service.start_worker("cpu", wait=False)
    assert service.wait_for_end(job.id).status is JobStatus.CANCELED
    service.stop(worker, finalizing)


@pytest.mark.usefixtures("_workers")
def test_a_long_outage_of_the_object_store_costs_no_attempt_and_keeps_the_finished_chunk(service: Service) -> None:
    store = store_of(service)
    job = service.submit(model="slow", num_frames=64)
    service.wait_for_chunks(job.id, 1)
    service.s3_server.stop()
    try:
        eventually(lambda: any(status.reason for status in service.workers()), "a worker to say what it waits for")
        held = store.get(job.id).lane(Lane.GENERATE)
        back_at = time.monotonic() + AWAY_SECONDS
        eventually(lambda: time.monotonic() > back_at, "the outage to last")
        lane = store.get(job.id).lane(Lane.GENERATE)
        assert (lane.token, lane.held, lane.attempts) == (held.token, True, 0)
        refused = service.http.post("/jobs", json={"model": "slow", "prompt": "a red square", "num_frames": 16})
        assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
    finally:
        service.s3_server.start()
    ended = service.wait_for_success(job.id)
    assert [chunk.index for chunk in ended.chunks] == [0, 1, 2, 3]
    assert store.get(job.id).lane(Lane.GENERATE).deaths == 0


@pytest.mark.usefixtures("_workers")
def test_a_worker_killed_with_one_chunk_to_store_and_the_next_in_the_engine_costs_no_byte(service: Service) -> None:
    store = store_of(service)
    undisturbed = service.wait_for_success(service.submit(model="slow", num_frames=64, seed=3).id)
    job = service.submit(model="slow", num_frames=64, seed=3)
    eventually(lambda: progress_of(store, job.id), "the first step")
    with storage_hangs(service):
        wait_until_made(store, job.id)
        pid = service.worker_pid("slow")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert store.get(job.id).chunks.count == 0
    resumed = service.wait_for_success(job.id)
    assert [chunk.sha256 for chunk in resumed.chunks] == [chunk.sha256 for chunk in undisturbed.chunks]
    assert service.video(job.id) == service.video(undisturbed.id)
