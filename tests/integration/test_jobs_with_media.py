"""Jobs that begin with an image or a video, through real Redis, real S3, real processes and real files.

The codes of refusals are tested with fakes, which is faster; these tests cover the parts together.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest

from core.service.admission.admission import Admitted, queued_record
from core.service.clock import SystemClock
from core.service.domain.engine import FramesTHWC
from core.service.domain.ids import new_job_id
from core.service.domain.schema import JobStatus, Lane
from core.service.engines.capabilities import SizeRule
from core.service.redis.job_store import RedisJobStore
from core.service.redis.queue import CeleryTaskQueue, make_celery_app
from tests.helpers.clips import clip, numbers_of, picture, png_bomb
from tests.helpers.command_line import Running
from tests.helpers.deadline import eventually
from tests.helpers.jobs import job_spec
from tests.helpers.media_server import Answer, MediaServer, redirect, serving_media
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import FullJob, Service, fetch, running_service
from tests.helpers.uploads import declare, send, upload
from tests.helpers.video import frames_of

NUM_GIVEN = 40


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Workers for `fake`, which takes an image or a video, and for `along`, which takes a control. URLs may lead to
    this machine."""
    folder = tmp_path_factory.mktemp("given")
    write_fake_preset(folder / "presets", "fake", accepts_image=True)
    size = SizeRule(multiple_of=8, min_side=32, max_pixels=128 * 128).model_dump()
    write_fake_preset(folder / "presets", "along", control=["canny"], length_of_input=True, size=size)
    with running_service(
        folder, folder / "presets", default_model="fake", media_allow_private_addresses=True
    ) as service:
        service.start_workers("fake", "along")
        yield service


@pytest.fixture
def server() -> Iterator[MediaServer]:
    with serving_media() as server:
        yield server


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 s at 8 frames per second, of the preset's shape but larger."""
    return clip(tmp_path_factory.mktemp("clips") / "given.mp4", NUM_GIVEN, fps=8, height=128, width=128)


def chunk_frames(job: FullJob, index: int) -> FramesTHWC:
    return frames_of(fetch(job.chunks[index].url))


def failure_of(service: Service, job_id: str) -> str:
    """Error code of a job that failed before anything was made."""
    job = service.wait_for_end(job_id)
    assert (job.status, job.chunks) == (JobStatus.FAILED, [])
    assert job.error is not None
    return job.error.code


def test_a_job_continues_from_the_last_16_frames_of_an_uploaded_video(service: Service, video: Path) -> None:
    upload_id = upload(service, video.read_bytes())
    job = service.wait_for_success(service.submit(video=upload_id, num_frames=40).id)
    given = frames_of(video.read_bytes())[-16:, ::2, ::2]
    first = chunk_frames(job, 0)
    assert numbers_of(first) == list(range(NUM_GIVEN - 16, NUM_GIVEN))
    assert np.abs(first.astype(int) - given).mean() < 3, "the same pictures, but for two codecs"
    assert [chunk.num_frames for chunk in job.chunks] == [16, 16, 8]
    assert len(frames_of(service.video(job.id))) == 40
    assert job.request.video == upload_id


def test_a_video_is_fetched_from_a_url_and_no_log_shows_its_query(
    service: Service, server: MediaServer, video: Path
) -> None:
    server.answers |= {"/old": redirect("/new?signature=s3cr3t-two"), "/new": Answer(video.read_bytes())}
    job = service.submit(video=server.url("/old?signature=s3cr3t-one"), num_frames=16)
    assert numbers_of(chunk_frames(service.wait_for_success(job.id), 0))[-1] == NUM_GIVEN - 1
    assert server.paths() == ["/old?signature=s3cr3t-one", "/new?signature=s3cr3t-two"]
    logs = "".join(file.read_text() for file in service.folder.glob("*.log"))
    assert "/old?..." in logs
    assert "s3cr3t" not in logs


def test_what_chrome_records_is_taken_as_chrome_calls_it(service: Service, tmp_path: Path) -> None:
    recording = clip(tmp_path / "a.matroska", NUM_GIVEN, fps=8, live="1").read_bytes()
    upload_id = upload(service, recording, "video/x-matroska;codecs=avc1,opus")
    job = service.wait_for_success(service.submit(video=upload_id, num_frames=16).id)
    assert numbers_of(chunk_frames(job, 0)) == list(range(NUM_GIVEN - 16, NUM_GIVEN))


def test_a_video_begins_with_an_uploaded_image(service: Service) -> None:
    upload_id = upload(service, picture((200, 100, 50), size=(300, 200)), "image/png")
    job = service.wait_for_success(service.submit(image=upload_id, num_frames=32).id)
    for index in (0, 1):
        assert np.abs(chunk_frames(job, index)[:, -1, -1].astype(int) - [200, 100, 50]).max() <= 8


def test_the_storage_takes_only_what_was_declared(service: Service) -> None:
    target = declare(service, 1000)
    assert send(target, bytes(1001)) == 403
    assert send(target, bytes(999)) == 403
    assert send(target, bytes(1000), **{"content-type": "text/html"}) == 403
    refused = service.http.post("/jobs", json={"prompt": "x", "video": target["id"]})
    assert (refused.status_code, refused.json()["code"]) == (422, "upload_incomplete")
    assert send(target, bytes(1000)) == 200


def test_a_thousand_empty_uploads_of_one_client_leave_room_for_others(service: Service, video: Path) -> None:
    """The flood comes from another address of this machine, many connections at once."""
    most, declared = service.settings.max_uploads_per_client, {"content_type": "video/mp4", "size_bytes": 3}
    transport = httpx.HTTPTransport(local_address="127.0.0.2")

    def post(_: int) -> httpx.Response:
        return flooder.post("/uploads", json=declared)

    with (
        httpx.Client(base_url=service.http.base_url, transport=transport, timeout=60) as flooder,
        ThreadPoolExecutor(16) as connections,
    ):
        flood = [*connections.map(post, range(1000))]
        upload_id = upload(service, video.read_bytes(), "video/mp4")
        made = [answer.json()["id"] for answer in flood if answer.status_code == 201]
        assert {answer.status_code for answer in flood} == {201, 429}
        assert most <= len(made) < 2 * most  # the count is looked at before each is stored
        assert service.submit(video=upload_id, num_frames=16).id
        for one in made:
            assert flooder.delete(f"/uploads/{one}").status_code == 204


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(service: Service) -> None:
    body = {"content_type": "video/mp4", "size_bytes": service.settings.max_video_bytes + 1}
    refused = service.http.post("/uploads", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "upload_too_large")


def test_a_decompression_bomb_fails_its_job_and_not_the_worker(service: Service) -> None:
    pid = service.worker_pid("fake")
    bomb = upload(service, png_bomb(60_000), "image/png")
    assert failure_of(service, service.submit(image=bomb).id) == "media_too_large"
    assert service.worker_pid("fake") == pid


def test_a_video_that_is_too_short_fails_its_job(service: Service, tmp_path: Path) -> None:
    short = upload(service, clip(tmp_path / "a.webm", 12, fps=8).read_bytes(), "video/webm")
    job_id = service.submit(video=short).id
    assert failure_of(service, job_id) == "video_too_short"
    error = service.job(job_id).error
    assert error is not None
    assert "12 frames" in error.message


def test_a_job_follows_its_control_video_to_the_end_at_its_own_size(
    service: Service, video: Path, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{service.api_port}"
    control = ["--model", "along", "--control", f"canny={video}", "--size", "96x96"]
    command = Running(["submit", "a red square", *control, "--url", url], service.settings.presets_dir, tmp_path, {})
    assert command.wait() == 0, command.output
    job_id = next(line for line in command.output.splitlines() if line.startswith("job_"))
    job = service.wait_for_success(job_id)
    assert (job.request.num_frames, job.progress.frames_total) == (NUM_GIVEN, NUM_GIVEN)
    frames = frames_of(service.video(job_id))
    assert frames.shape == (NUM_GIVEN, 96, 96, 3)
    given = frames_of(video.read_bytes())
    corners = frames[:, -1, -1].astype(int) - given[:, -1, -1]
    assert np.abs(corners).mean() < 6, "the field of frame n is frame n of the input"


def test_a_control_video_that_is_too_short_fails_its_job(service: Service, video: Path) -> None:
    control = {"type": "canny", "video": upload(service, video.read_bytes())}
    job_id = service.submit(model="along", control=control, num_frames=NUM_GIVEN + 1).id
    assert failure_of(service, job_id) == "video_too_short"


def test_a_worker_that_waits_for_a_slow_server_keeps_its_lease(
    service: Service, server: MediaServer, video: Path
) -> None:
    server.answers["/slow"] = Answer(video.read_bytes(), after=threading.Event())
    job = service.submit(video=server.url("/slow"), num_frames=16)
    eventually(lambda: bool(server.seen), "the server to be asked")
    until = datetime.now(UTC) + timedelta(seconds=2 * service.settings.lease_ttl_seconds)
    eventually(lambda: datetime.now(UTC) > until, "twice the life of a lease")
    release(server, "/slow")
    service.wait_for_success(job.id)
    assert server.paths() == ["/slow"], "asked once: nobody else took the job over"


def release(server: MediaServer, path: str) -> None:
    event = server.answers[path].after
    assert event is not None
    event.set()


def test_a_worker_killed_while_it_fetches_leaves_the_same_video(
    service: Service, server: MediaServer, video: Path
) -> None:
    server.answers["/a"] = Answer(video.read_bytes())
    undisturbed = service.wait_for_success(service.submit(video=server.url("/a"), num_frames=32).id)
    server.seen.clear()
    server.answers["/a"] = Answer(video.read_bytes(), after=threading.Event())
    job = service.submit(video=server.url("/a"), num_frames=32)
    eventually(lambda: bool(server.seen), "the server to be asked")
    os.kill(next(status.pid for status in service.workers() if status.kind == "cpu"), signal.SIGKILL)
    release(server, "/a")
    resumed = service.wait_for_success(job.id)
    assert [chunk.sha256 for chunk in resumed.chunks] == [chunk.sha256 for chunk in undisturbed.chunks]


def test_the_command_line_uploads_a_local_file(service: Service, video: Path, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{service.api_port}"
    words = ["submit", "a red square", "--video", str(video), "--frames", "16", "--url", url]
    command = Running(words, service.settings.presets_dir, tmp_path, {})
    assert command.wait() == 0, command.output
    assert f"uploading {video.name}" in command.output
    job_id = next(line for line in command.output.splitlines() if line.startswith("job_"))
    assert numbers_of(chunk_frames(service.wait_for_success(job_id), 0))[-1] == NUM_GIVEN - 1


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Only a CPU worker, and no URL may lead to this machine."""
    folder = tmp_path_factory.mktemp("strict")
    write_fake_preset(folder / "presets", "fake")
    with running_service(folder, folder / "presets", default_model="fake") as service:
        service.start_worker("cpu")
        yield service


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.mp4", "http://169.254.169.254/latest", "http://localhost/a.mp4"])
def test_private_addresses_are_refused_unless_the_operator_allows_them(strict: Service, url: str) -> None:
    refused = strict.http.post("/jobs", json={"prompt": "x", "video": url})
    assert (refused.status_code, refused.json()["code"]) == (422, "media_url_refused")


def test_a_worker_refuses_an_address_that_became_private_after_the_job_was_accepted(
    strict: Service, server: MediaServer
) -> None:
    """As if the host's name had meant something else when the job came in: the record is there, past the door."""
    settings = strict.settings
    record = queued_record(
        new_job_id(), Admitted(job_spec(model="fake", video=server.url("/a"))), datetime.now(UTC), ""
    )
    RedisJobStore(strict.redis(), SystemClock(), retention_seconds=600).create(record)
    CeleryTaskQueue(make_celery_app(settings), strict.redis_database(1)).wake(Lane.PREPARE, "fake", record.id)
    assert failure_of(strict, record.id) == "media_url_refused"
    assert server.seen == []
