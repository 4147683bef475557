"""Jobs that are measured after their end, by real workers with the real metrics; and workers killed meanwhile."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from client import Longtake, NotFound
from core.service.domain.manifest import job_prefix, metrics_key
from core.service.domain.schema import JobMetrics
from core.service.redis.event_log import RedisEventLog
from tests.helpers.deadline import eventually
from tests.helpers.service import Service
from tests.helpers.webhook_receiver import WebhookReceiver

PROGRAM = "worker.measuring.process"


def wait_for_metrics(service: Service, job_id: str, seconds: float = 180) -> JobMetrics:
    def read() -> JobMetrics | None:
        answer = service.http.get(f"/jobs/{job_id}/metrics")
        return JobMetrics.model_validate_json(answer.content) if answer.status_code == 200 else None

    return eventually(read, f"{job_id} to be measured", seconds=seconds)


def measuring(service: Service) -> psutil.Process | None:
    """The process that measures now."""
    for worker in service.workers():
        try:
            for child in psutil.Process(worker.pid).children():
                if PROGRAM in child.cmdline():
                    return child
        except psutil.NoSuchProcess:
            continue
    return None


def test_a_job_is_measured_after_its_end_and_says_so(service: Service, receiver: WebhookReceiver) -> None:
    hook = {"webhook_url": receiver.url, "webhook_events": ["job.succeeded", "job.measured"]}
    job = service.submit(num_frames=40, measure=True, **hook)
    service.wait_for_success(job.id)
    metrics = wait_for_metrics(service, job.id)
    video = metrics.videos["preview"]
    assert (metrics.job_id, metrics.generation, video.num_frames, video.flow) == (job.id, 0, 40, "dis")
    assert {"scuts", "mawe_code", "warp_error", "seam_score", "duplicate_ratio"} <= video.values.keys()
    assert video.values["scuts"].value is not None
    assert all(value.title and value.meaning for value in video.values.values())
    assert video.curves
    eventually(lambda: receiver.types() == ["job.succeeded", "job.measured"], "both webhooks in order")
    assert receiver.tries[-1].payload["data"]["measurement"] == {"status": "measured"}
    shown = service.job(job.id)
    assert shown.measurement is not None
    assert (shown.status, shown.measurement.status) == ("succeeded", "measured")
    last = service.http.get(f"/jobs/{job.id}/events", headers={"Last-Event-ID": "6-0"}).text
    assert "event: job.measured" in last


def test_a_finished_job_is_measured_on_request_and_anew_when_it_goes_on(service: Service) -> None:
    job_id = service.submit(num_frames=16).id
    service.wait_for_success(job_id)
    with Longtake(str(service.http.base_url)) as client:
        job = client.jobs.get(job_id)
        with pytest.raises(NotFound) as refused:
            job.metrics()
        assert refused.value.code == "metrics_not_asked"
        job.measure()
        assert wait_for_metrics(service, job_id) == job.metrics()
        job.extend(16)
        service.wait_for_success(job_id)
        metrics = wait_for_metrics(service, job_id)
        assert (metrics.generation, metrics.videos["preview"].num_frames) == (1, 32)

    def kept() -> list[str]:
        return [key for key in service.storage().list(job_prefix(job_id)) if "metrics" in key]

    eventually(lambda: kept() == [metrics_key(job_id, 1)], "the metrics of the shorter video to be removed")


def test_a_killed_cpu_worker_costs_nothing(own_service: Service) -> None:
    """kill -9 of the worker while another process measures for it: that one ends too, and the next worker begins
    anew."""
    service = own_service
    service.start_workers("fake")
    job_id = service.submit(num_frames=96, measure=True).id
    process = eventually(lambda: measuring(service), "the video to be measured", seconds=120)
    (worker,) = (status for status in service.workers() if status.kind == "cpu")
    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "the process to end")
    metrics = wait_for_metrics(service, job_id)
    assert metrics.videos["preview"].num_frames == 96
    log = [event.type for event in RedisEventLog(service.redis()).read(job_id)]
    assert log == ["job.queued", "job.started", *["chunk.completed"] * 6, "job.succeeded", "job.measured"]


def test_nothing_is_left_of_a_job_that_is_deleted_while_it_is_measured(own_service: Service) -> None:
    service = own_service
    service.start_workers("fake")
    job_id = service.submit(num_frames=96, measure=True).id
    process = eventually(lambda: measuring(service), "the video to be measured", seconds=120)
    assert service.http.delete(f"/jobs/{job_id}").status_code == 202
    eventually(lambda: not process.is_running(), "the process to be stopped")
    eventually(lambda: [*service.storage().list(job_prefix(job_id))] == [], "its objects to be removed")
