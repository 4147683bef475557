"""Jobs that begin with an image or a video: read once, before the first step, and every way that can go wrong."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest

from core.service import queue
from core.service.address_guard import VIDEO, UrlUse, check_url
from core.service.engine import EngineChunk, EngineState, FrameHWC, OnStep
from core.service.errors import MediaFetchFailed, MediaUrlRefused
from core.service.fakes import FakeEngine
from core.service.manifest import chunk_key, manifest_key, record_from_manifest
from core.service.media.addresses import media_addresses
from core.service.media.uploads import new_upload_id, upload_key
from core.service.resolver import BoundedResolver
from core.service.schema import JobError, JobSpec, JobStatus, Lane
from core.service.settings import Settings
from tests.helpers.clips import clip, numbers_of, picture
from tests.helpers.deadline import eventually
from tests.helpers.fake_world import JOB, MODEL, World
from tests.helpers.media_server import Answer, MediaServer, redirect, serving_media
from tests.helpers.video import frames_of
from worker.generate import ChunkMaker, Outcome
from worker.given import GivenReader
from worker.services import NoActivity

HOST = "videos.example.com"


class NoEngine(FakeEngine):
    """Must not be asked for anything."""

    def next_chunk(self, spec: JobSpec, state: EngineState, on_step: OnStep) -> EngineChunk:  # noqa: ARG002 - the port's
        raise AssertionError("the engine was asked for a chunk")


def as_if_public(url: str, settings: Settings, use: UrlUse) -> Sequence[str]:
    """HOST is taken for a public host that happens to be on loopback; all other URLs are judged as ever."""
    return ["127.0.0.1"] if f"//{HOST}:" in url else check_url(url, settings.media_allow_private_addresses, use=use)


def uploaded(world: World, data: bytes) -> str:
    upload_id = new_upload_id()
    world.storage.put(upload_key(upload_id), data, "application/octet-stream")
    return upload_id


def failure(world: World, outcome: Outcome) -> JobError:
    """Why the job failed, at once and before anything was made."""
    record = world.store.get(JOB)
    assert (outcome, record.status, record.chunks) == (Outcome.FAILED, JobStatus.FAILED, ())
    assert record.error is not None
    assert record_from_manifest(world.storage.objects[manifest_key(JOB)]).error == record.error
    return record.error


def first_chunk(world: World, index: int = 0) -> FrameHWC:
    return frames_of(world.storage.objects[chunk_key(JOB, index)])


@pytest.fixture
def server() -> Iterator[MediaServer]:
    with serving_media() as server:
        yield server


@pytest.fixture
def video(tmp_path: Path) -> bytes:
    """5 s at 8 frames per second."""
    return clip(tmp_path / "a.mp4", 40, fps=8, height=64, width=64).read_bytes()


def test_the_last_frames_of_a_video_are_chunk_0_and_it_goes_on_from_there(world: World, video: bytes) -> None:
    world.submit(video=uploaded(world, video), num_frames=40)
    world.work(world.maker())
    record = world.store.get(JOB)
    assert (record.status, [chunk.num_frames for chunk in record.chunks]) == (JobStatus.SUCCEEDED, [16, 16, 8])
    assert numbers_of(first_chunk(world)) == list(range(24, 40))
    corner = first_chunk(world, 1)[:, -1, -1].astype(int)
    assert np.abs(corner - first_chunk(world)[-1, -1, -1]).max() <= 6, "the field of the last given frame"


def test_an_image_is_what_the_video_begins_with(world: World) -> None:
    world.submit(image=uploaded(world, picture((200, 100, 50), size=(300, 100))))
    world.work(world.maker())
    assert np.abs(first_chunk(world)[:, -1, -1].astype(int) - [200, 100, 50]).max() <= 8
    assert np.abs(first_chunk(world, 2)[:, -1, -1].astype(int) - [200, 100, 50]).max() <= 8


def test_later_chunks_and_other_workers_do_not_need_it_any_more(world: World, video: bytes) -> None:
    upload_id = uploaded(world, video)
    world.submit(video=upload_id)
    world.maker().work()
    del world.storage.objects[upload_key(upload_id)]
    assert world.maker(services=world.services("worker-2")).work() is Outcome.COMMITTED


def test_a_worker_killed_after_reading_it_costs_nothing(world: World, video: bytes) -> None:
    bytes_of_chunk: list[bytes] = []
    upload_id = uploaded(world, video)
    for job_id in ("job_b", "job_c"):
        world.submit(job_id, video=upload_id, num_frames=16)
        if job_id == "job_c":
            assert world.store.claim(job_id, Lane.GENERATE, "killed", 30) is not None
            world.clock.advance(31)
        world.maker().work()
        bytes_of_chunk.append(world.storage.objects[chunk_key(job_id, 0)])
    assert bytes_of_chunk[0] == bytes_of_chunk[1]


def test_it_is_fetched_from_a_url_and_logs_do_not_show_the_query(
    world: World, server: MediaServer, video: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers |= {"/old": redirect(server.url("/new?signature=second", HOST)), "/new": Answer(video)}
    world.submit(video=server.url("/old?signature=secret", HOST))
    with caplog.at_level(logging.INFO):
        logging.getLogger("httpx").setLevel(logging.WARNING)  # as worker.process does
        assert world.maker(allowed=as_if_public).work() is Outcome.COMMITTED
    assert server.paths() == ["/old?signature=secret", "/new?signature=second"]
    assert f"{HOST}:{server.port}/old?..." in caplog.text
    assert "secret" not in caplog.text
    assert "second" not in caplog.text
    assert numbers_of(first_chunk(world)) == list(range(24, 40))


@pytest.mark.parametrize("field", ["image", "video"])
def test_a_redirect_to_a_private_address_fails_the_job(world: World, server: MediaServer, field: str) -> None:
    server.answers["/a"] = redirect(server.url("/secret"))
    world.submit(**{field: server.url("/a", HOST)})
    error = failure(world, world.maker(NoEngine(), allowed=as_if_public).work())
    assert (error.code, error.retryable) == ("media_url_refused", False)
    assert server.paths() == ["/a"]


def test_an_address_that_became_private_fails_the_job(world: World, server: MediaServer) -> None:
    world.submit(video=server.url("/a"))
    assert failure(world, world.maker(NoEngine()).work()).code == "media_url_refused"
    assert server.seen == []


def test_a_video_that_is_too_short_fails_the_job_and_says_how_long_it_is(world: World, tmp_path: Path) -> None:
    world.submit(video=uploaded(world, clip(tmp_path / "b.mp4", 9, fps=8).read_bytes()))
    error = failure(world, world.maker(NoEngine()).work())
    assert (error.code, error.retryable) == ("video_too_short", False)
    assert "has 9 frames at 8 frames per second" in error.message


def test_too_many_pixels_fail_the_job(world: World) -> None:
    world.settings = world.settings.model_copy(update={"max_image_pixels": 100})
    world.submit(image=uploaded(world, picture((1, 2, 3))))
    assert failure(world, world.maker(NoEngine()).work()).code == "media_too_large"


def test_too_many_bytes_fail_the_job(world: World, video: bytes) -> None:
    world.settings = world.settings.model_copy(update={"max_video_bytes": len(video) - 1})
    world.submit(video=uploaded(world, video))
    assert failure(world, world.maker(NoEngine()).work()).code == "media_too_large"


@pytest.mark.parametrize("data", [b"<html>" + bytes(100), picture((1, 2, 3))])
def test_bytes_that_are_no_video_fail_the_job(world: World, data: bytes) -> None:
    world.submit(video=uploaded(world, data))
    assert failure(world, world.maker(NoEngine()).work()).code == "media_type_refused"


def test_an_upload_that_is_gone_fails_the_job(world: World) -> None:
    world.submit(video=new_upload_id())
    error = failure(world, world.maker(NoEngine()).work())
    assert (error.code, error.fix) == ("media_unavailable", "upload it again")


def test_a_server_that_fails_is_asked_again_and_in_the_end_the_client_may(world: World, server: MediaServer) -> None:
    server.answers["/a"] = Answer(status=503)
    world.submit(video=server.url("/a", HOST))
    maker = world.maker(NoEngine(), allowed=as_if_public)
    for tries in (1, 2):
        assert maker.work() is Outcome.FAILED
        record = world.store.get(JOB)
        assert (record.status, record.lane(Lane.GENERATE).attempts) == (JobStatus.RUNNING, tries)
        world.rest()
    error = failure(world, maker.work())
    assert (error.code, error.retryable, error.fix) == ("media_fetch_failed", True, "try again later")


def test_a_redirect_to_a_host_that_cannot_be_fails_the_job_by_its_own_name(world: World, server: MediaServer) -> None:
    server.answers["/a"] = redirect("http://xn--/")
    world.submit(video=server.url("/a", HOST))
    error = failure(world, world.maker(NoEngine(), allowed=as_if_public).work())
    assert (error.code, error.retryable) == ("media_url_refused", False)
    assert error.fix


def test_a_server_that_recovers_costs_only_a_try(world: World, server: MediaServer, video: bytes) -> None:
    server.answers["/a"] = Answer(status=503)
    world.submit(video=server.url("/a", HOST))
    maker = world.maker(allowed=as_if_public)
    maker.work()
    server.answers["/a"] = Answer(video)
    world.rest()
    assert maker.work() is Outcome.COMMITTED


def test_an_outage_of_the_object_store_is_waited_for(world: World, video: bytes) -> None:
    world.submit(video=uploaded(world, video))
    world.storage.broken = True
    mended = threading.Timer(0.3, setattr, (world.storage, "broken", False))
    mended.start()
    assert world.maker().work() is Outcome.COMMITTED
    mended.join()


@contextmanager
def once_asked(server: MediaServer, action: Callable[[], object]) -> Generator[None]:
    """Does something as soon as the server has a request, which it does not answer to the end."""

    def watch() -> None:
        eventually(lambda: bool(server.seen), "the server to be asked")
        action()

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    thread.join()


def test_a_cancel_does_not_wait_for_a_slow_server(world: World, server: MediaServer, video: bytes) -> None:
    server.answers["/a"] = Answer(video, after=threading.Event())
    world.submit(video=server.url("/a", HOST))
    with once_asked(server, lambda: world.store.request_cancel(JOB)):
        assert world.maker(NoEngine(), allowed=as_if_public).work() is Outcome.INTERRUPTED
    assert world.store.get(JOB).lane(Lane.GENERATE).attempts == 0
    assert queue.TASK_FINALIZE_JOB in world.tasks()


def test_a_drain_does_not_wait_for_a_slow_server_and_the_try_does_not_count(
    world: World, server: MediaServer, video: bytes
) -> None:
    server.answers["/a"] = Answer(video, after=threading.Event())
    world.submit(video=server.url("/a", HOST))
    world.queue.messages.clear()
    services = world.services()
    with once_asked(server, services.drain.set):
        assert world.maker(NoEngine(), services, as_if_public).work() is Outcome.INTERRUPTED
    assert world.store.get(JOB).lane(Lane.GENERATE).attempts == 0
    assert world.tasks() == [queue.TASK_GENERATE_CHUNK]


def test_a_name_server_that_does_not_answer_may_answer_at_the_next_try() -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_AGAIN, f"{host}:{port}")

    with pytest.raises(MediaFetchFailed, match="cannot be looked up"):
        media_addresses(BoundedResolver(resolve=resolve))("https://example.com/", Settings(), VIDEO)


def test_a_host_that_does_not_resolve_and_a_private_one_are_refused_alike() -> None:
    def refusal(resolve: Callable[[str, int], Sequence[str]]) -> str:
        with pytest.raises(MediaUrlRefused) as caught:
            media_addresses(BoundedResolver(resolve=resolve))("https://intranet.test/", Settings(), VIDEO)
        return f"{caught.value.message} {caught.value.fix}"

    def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, f"{host}:{port}")

    assert refusal(unknown) == refusal(lambda _host, _port: ["10.0.0.1"])


class Beats(NoActivity):
    """Counts what a watchdog would measure."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def busy(self, job_id: str) -> None:
        self.calls.append(job_id)

    def beat(self) -> None:
        self.calls.append("beat")

    def waiting(self, reason: str) -> None: ...

    def loading(self, words: str) -> AbstractContextManager[None]:
        del words
        return nullcontext()

    def idle(self) -> None: ...


def test_reading_is_no_measure_for_the_watchdog(world: World, server: MediaServer, video: bytes) -> None:
    beats = Beats()
    server.answers["/a"] = Answer(video, after=threading.Event())
    world.submit(video=server.url("/a", HOST))
    services = world.services()
    maker = ChunkMaker(services, FakeEngine(), MODEL, beats, given=GivenReader(services, as_if_public))

    def answer_after_a_sign_of_life() -> None:
        eventually(lambda: len(beats.calls) > 1, "a sign of life")
        release(server)

    with once_asked(server, answer_after_a_sign_of_life):
        assert maker.work() is Outcome.COMMITTED
    assert set(beats.calls) == {JOB}
    assert maker.work() is Outcome.COMMITTED
    assert beats.calls.count("beat") == 4, "each step of the second chunk"


def release(server: MediaServer) -> None:
    event = server.answers["/a"].after
    assert event is not None
    event.set()
