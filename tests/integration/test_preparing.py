"""Media that are slow, hang or are left behind by a killed worker, with real processes: no other job waits for them."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.service.clock import SystemClock
from core.service.domain.manifest import inputs_prefix
from core.service.domain.schema import JobStatus, Lane
from core.service.redis.job_store import RedisJobStore
from tests.helpers.clips import clip
from tests.helpers.deadline import eventually
from tests.helpers.media_server import Answer, MediaServer, serving_media
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service
from tests.helpers.uploads import upload

SLOW_JOBS = 12
DECODE_SECONDS = 5.0
"""Of processor time. By the clock a decoder has 35 s, its start included; all others are done by then."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("preparing")
    write_fake_preset(folder / "presets", "fake")
    with running_service(
        folder,
        folder / "presets",
        default_model="fake",
        media_allow_private_addresses=True,
        media_fetches=8,
        media_fetches_per_host=2,
        media_decode_timeout_seconds=DECODE_SECONDS,
    ) as service:
        service.start_workers("fake")
        yield service


@pytest.fixture
def server() -> Iterator[MediaServer]:
    with serving_media() as server:
        yield server


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return clip(tmp_path_factory.mktemp("clips") / "given.mp4", 24, fps=8, height=64, width=64).read_bytes()


def store_of(service: Service) -> RedisJobStore:
    return RedisJobStore(service.redis(), SystemClock(), retention_seconds=600)


def cpu_worker(service: Service) -> psutil.Process:
    pid = next(status.pid for status in service.workers() if status.kind == "cpu")
    return psutil.Process(pid)


def test_a_server_of_one_byte_a_second_delays_no_other_job(service: Service, server: MediaServer, video: bytes) -> None:
    server.answers |= {"/slow": Answer(video, seconds_per_byte=1.0), "/quick": Answer(video)}
    slow = [service.submit(video=server.url("/slow", "localhost"), num_frames=16).id for _ in range(SLOW_JOBS)]
    eventually(lambda: server.paths().count("/slow") == 2, "its share of the places to be taken")
    with_media = [
        service.submit(video=server.url("/quick"), num_frames=16).id,
        service.submit(video=upload(service, video), num_frames=16).id,
    ]
    without = [service.submit(num_frames=16).id for _ in range(2)]
    for job_id in (*without, *with_media):
        service.wait_for_success(job_id)
    assert server.paths().count("/slow") < SLOW_JOBS, "not all of the slow ones had their turn before the others"
    waiting = service.job(slow[-1])
    assert (waiting.status, waiting.progress.preparing) == (JobStatus.QUEUED, True)
    for job_id in slow:
        assert service.http.post(f"/jobs/{job_id}/cancel").status_code == 202
        assert service.job(job_id).status is JobStatus.CANCELED
    eventually(lambda: not any(store_of(service).lease_alive(one, Lane.PREPARE) for one in slow), "the places again")


def test_a_decoder_that_hangs_costs_its_job_an_attempt_and_others_nothing(
    service: Service, server: MediaServer, video: bytes
) -> None:
    server.answers["/a"] = Answer(video)
    stopped = service.submit(video=upload(service, video), num_frames=16).id

    def stop_the_decoder() -> psutil.Process | None:
        for child in cpu_worker(service).children():
            os.kill(child.pid, signal.SIGSTOP)
            return child
        return None

    decoder = eventually(stop_the_decoder, "the decoder to be there", pause_seconds=0.01)
    other = service.submit(video=server.url("/a"), num_frames=16).id
    service.wait_for_success(other)
    assert decoder.status() == psutil.STATUS_STOPPED, "nobody has waited for its end"
    assert service.job(stopped).status is JobStatus.QUEUED
    service.wait_for_success(stopped, seconds=180)
    assert cpu_worker(service).children() == []


def test_after_kill_9_of_the_cpu_worker_its_media_are_prepared_again_without_an_attempt(
    service: Service, server: MediaServer, video: bytes
) -> None:
    server.answers["/a"] = Answer(video, after=threading.Event())
    jobs = [service.submit(video=server.url("/a", host), num_frames=16).id for host in ("127.0.0.1", "localhost")]
    eventually(lambda: len(server.seen) == 2, "the server to be asked for both")
    killed = cpu_worker(service)
    killed.send_signal(signal.SIGKILL)
    eventually(lambda: len(server.seen) == 4, "the server to be asked again")
    records = [store_of(service).get(job_id) for job_id in jobs]
    assert [record.lane(Lane.PREPARE).attempts for record in records] == [0, 0]
    event = server.answers["/a"].after
    assert event is not None
    event.set()
    for job_id in jobs:
        service.wait_for_success(job_id)
    assert [list(service.storage().list(inputs_prefix(job_id))) for job_id in jobs] == [[], []]
    assert not list(Path(tempfile.gettempdir()).glob(f"longtake-{killed.pid}-*"))


def test_without_a_cpu_worker_jobs_with_media_wait_and_others_begin(service: Service, video: bytes) -> None:
    (cpu,) = [child for child in service.children() if child.name == "cpu"]
    service.stop(cpu)
    waits = service.submit(video=upload(service, video), num_frames=16).id
    other = service.submit(num_frames=16).id
    service.wait_for_chunks(other, 1)
    assert (service.job(waits).status, service.job(waits).progress.preparing) == (JobStatus.QUEUED, True)
    service.start_worker("cpu")
    for job_id in (waits, other):
        service.wait_for_success(job_id)
