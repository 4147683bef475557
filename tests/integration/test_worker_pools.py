"""`longtake worker --pool`: GPUs go to the models that have work, and back.

The engines are fake ones, so the GPUs are only names."""

from __future__ import annotations

import redis

from cli.processes.embedded import EmbeddedRedis
from core.service.clock import SystemClock
from core.service.domain.ports import EVERYTHING, WorkerStatus
from core.service.domain.schema import JobStatus, Lane
from core.service.redis.job_store import RedisJobStore
from core.service.redis.pauses import RedisPauses
from core.service.settings import Settings
from tests.helpers.deadline import eventually
from tests.helpers.jobs import queued_job
from tests.helpers.service import Service
from worker.pools import RedisSurroundings

QUICK = {"pool_hold_seconds": 0.5, "target_queue_seconds": 1.0}
LONG_JOB = {"model": "slow", "num_frames": 16 * 12}
"""Chunks of 0.8 s: far more than what one worker does in the target seconds."""


def models(service: Service, *expected: str) -> list[WorkerStatus]:
    """The workers, once their models are these."""

    def as_expected() -> list[WorkerStatus] | None:
        found = [worker for worker in service.workers() if worker.kind == "both" and worker.state in {"ready", "busy"}]
        return found if sorted(str(worker.model) for worker in found) == sorted(expected) else None

    return eventually(as_expected, f"workers of {', '.join(expected)}", seconds=120)


def test_a_worker_that_is_coming_is_seen_by_others_only(redis_server: EmbeddedRedis, client: redis.Redis) -> None:
    settings = Settings(redis_url=redis_server.url())
    here, there = RedisSurroundings(settings, ["0"]), RedisSurroundings(settings, ["1"])
    here.announce({0: "fake"})
    assert here.read().workers == []
    (seen,) = there.read().workers
    assert (seen.model, seen.state, seen.cuda_visible_devices) == ("fake", "starting", "0")
    here.announce({0: "slow"})
    assert [seen.model for seen in there.read().workers] == ["slow"], "that one is not coming any more"
    here.announce({})
    assert there.read().workers == [], "it has come, and counts by its own report"
    RedisPauses(client).pause(EVERYTHING, SystemClock().now())
    RedisJobStore(client, SystemClock(), retention_seconds=3600).create(queued_job(model="fake"))
    needs = there.read()
    assert ([demand.pool for demand in needs.demands], needs.paused) == (["fake"], {EVERYTHING})


def test_a_gpu_goes_to_the_model_with_work_and_back(own_service: Service) -> None:
    service = own_service
    service.choose(**QUICK)
    service.start_worker("cpu", wait=False)
    service.start_pools("fake=0..2", "slow=0..2", gpus="0,1")
    before = {worker.model: worker for worker in models(service, "fake", "slow")}
    jobs = [service.submit(**LONG_JOB).id for _ in range(2)]
    after = models(service, "slow", "slow")
    moved = next(worker for worker in after if worker.pid != before["slow"].pid)
    assert before["slow"].pid in {worker.pid for worker in after}, "the other one goes on"
    assert moved.cuda_visible_devices == before["fake"].cuda_visible_devices
    for job_id in jobs:
        service.wait_for_success(job_id)
    service.wait_for_success(service.submit(model="fake").id, seconds=120)
    models(service, "fake", "slow")


def test_two_models_take_turns_on_one_gpu_and_a_chunk_that_is_interrupted_is_made_later(own_service: Service) -> None:
    service = own_service
    service.choose(**QUICK)
    service.start_worker("cpu", wait=False)
    endless = service.submit(model="endless").id
    service.start_pools("endless=0..1", "fake=0..1", gpus="none")
    eventually(lambda: service.job(endless).status is JobStatus.RUNNING, "the first model to work", seconds=120)
    service.wait_for_success(service.submit(model="fake").id, seconds=120)
    models(service, "endless")
    eventually(lambda: any(each.job_id == endless for each in service.workers()), "the first job to go on")
    lane = RedisJobStore(service.redis(), SystemClock(), retention_seconds=3600).get(endless).lane(Lane.GENERATE)
    assert (lane.attempts, lane.deaths) == (0, 0), "it was given back in order"
    service.http.post(f"/jobs/{endless}/cancel")
    service.wait_for_end(endless)
