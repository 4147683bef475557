"""Jobs with an image or a video: it is read once, before an engine is used; every possible failure."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from core.service.domain.engine import FrameHWC
from core.service.domain.errors import MediaFetchFailed, MediaTooLarge, MediaUrlRefused
from core.service.domain.ids import new_upload_id
from core.service.domain.manifest import chunk_key, inputs_prefix, job_prefix, manifest_key
from core.service.domain.schema import JobError, JobStatus, JobWarning, Lane, PreparedMedia
from core.service.domain.transitions import LONELY_DEATHS
from core.service.domain.uploads import upload_key
from core.service.media.allowed_addresses import media_addresses
from core.service.net.address_guard import VIDEO, UrlUse, check_url
from core.service.net.resolver import BoundedResolver
from core.service.records.stored_jobs import read_job
from core.service.redis import queue
from core.service.settings import Settings
from tests.helpers.clips import clip, numbers_of, picture
from tests.helpers.deadline import eventually
from tests.helpers.fake_world import JOB, World
from tests.helpers.manifests import record_from_manifest
from tests.helpers.media_server import Answer, MediaServer, redirect, serving_media
from tests.helpers.video import frames_of
from worker.lanes.lane import Outcome
from worker.lanes.prepare import MediaPreparer
from worker.media.decode import DecodeRequest, decode_media
from worker.media.decoder_pool import DecodingStalled
from worker.media.input_media import DiskBudget, DiskReservation, InputMediaReader

HOST = "videos.example.com"


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
    assert (outcome, record.status, record.chunks.count) == (Outcome.FAILED, JobStatus.FAILED, 0)
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


def test_the_last_frames_of_a_video_are_chunk_0_and_are_continued(world: World, video: bytes) -> None:
    world.submit(video=uploaded(world, video), num_frames=40)
    world.work(world.maker())
    record = world.store.get(JOB)
    assert (record.status, [chunk.num_frames for chunk in world.chunks()]) == (JobStatus.SUCCEEDED, [16, 16, 8])
    assert numbers_of(first_chunk(world)) == list(range(24, 40))
    corner = first_chunk(world, 1)[:, -1, -1].astype(int)
    assert np.abs(corner - first_chunk(world)[-1, -1, -1]).max() <= 6, "the field of the last given frame"


def test_an_image_is_what_the_video_begins_with(world: World) -> None:
    world.submit(image=uploaded(world, picture((200, 100, 50), size=(300, 100))))
    world.work(world.maker())
    assert np.abs(first_chunk(world)[:, -1, -1].astype(int) - [200, 100, 50]).max() <= 8
    assert np.abs(first_chunk(world, 2)[:, -1, -1].astype(int) - [200, 100, 50]).max() <= 8


def test_workers_with_engines_do_not_need_the_source_of_prepared_media(world: World, video: bytes) -> None:
    upload_id = uploaded(world, video)
    world.submit(video=upload_id)
    assert world.maker().work() is Outcome.DROPPED, "not ready for an engine yet"
    assert world.preparer().work() is Outcome.COMMITTED
    assert (world.store.get(JOB).status, world.tasks()[-1]) == (JobStatus.QUEUED, queue.TASK_GENERATE_CHUNK)
    del world.storage.objects[upload_key(upload_id)]
    assert world.maker().work() is Outcome.COMMITTED
    assert world.maker(services=world.services("worker-2")).work() is Outcome.COMMITTED


def test_a_worker_killed_after_reading_it_costs_nothing(world: World, video: bytes) -> None:
    bytes_of_chunk: list[bytes] = []
    upload_id = uploaded(world, video)
    for job_id in ("job_b", "job_c"):
        world.submit(job_id, video=upload_id, num_frames=16)
        if job_id == "job_c":
            assert world.store.claim(job_id, Lane.PREPARE, "killed", 30) is not None
            world.clock.advance(31)
        world.preparer().work()
        assert world.store.get(job_id).lane(Lane.PREPARE).attempts == 0
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
        assert world.preparer(allowed=as_if_public).work() is Outcome.COMMITTED
    assert server.paths() == ["/old?signature=secret", "/new?signature=second"]
    assert f"{HOST}:{server.port}/old?..." in caplog.text
    assert "secret" not in caplog.text
    assert "second" not in caplog.text
    world.maker().work()
    assert numbers_of(first_chunk(world)) == list(range(24, 40))


@pytest.mark.parametrize("field", ["image", "video"])
def test_a_redirect_to_a_private_address_fails_the_job(world: World, server: MediaServer, field: str) -> None:
    server.answers["/a"] = redirect(server.url("/secret"))
    world.submit(**{field: server.url("/a", HOST)})
    error = failure(world, world.preparer(allowed=as_if_public).work())
    assert (error.code, error.retryable) == ("media_url_refused", False)
    assert server.paths() == ["/a"]


def test_a_redirect_to_a_port_that_is_not_allowed_fails_the_job(world: World, server: MediaServer) -> None:
    server.answers["/a"] = redirect("http://8.8.8.8:9200/_search")
    world.submit(video=server.url("/a", HOST))
    error = failure(world, world.preparer(allowed=as_if_public).work())
    assert (error.code, "port 9200 is not allowed" in error.message) == ("media_url_refused", True)


def test_an_address_that_became_private_fails_the_job(world: World, server: MediaServer) -> None:
    world.submit(video=server.url("/a"))
    assert failure(world, world.preparer().work()).code == "media_url_refused"
    assert server.seen == []


def test_a_video_that_is_too_short_fails_the_job_and_says_how_long_it_is(world: World, tmp_path: Path) -> None:
    world.submit(video=uploaded(world, clip(tmp_path / "b.mp4", 9, fps=8).read_bytes()))
    error = failure(world, world.preparer().work())
    assert (error.code, error.retryable) == ("video_too_short", False)
    assert "has 9 frames at 8 frames per second" in error.message


def test_too_many_pixels_fail_the_job(world: World) -> None:
    world.settings = world.settings.model_copy(update={"max_image_pixels": 100})
    world.submit(image=uploaded(world, picture((1, 2, 3))))
    assert failure(world, world.preparer().work()).code == "media_too_large"


def test_too_many_bytes_fail_the_job(world: World, video: bytes) -> None:
    world.settings = world.settings.model_copy(update={"max_video_bytes": len(video) - 1})
    world.submit(video=uploaded(world, video))
    assert failure(world, world.preparer().work()).code == "media_too_large"


@pytest.mark.parametrize("data", [b"<html>" + bytes(100), picture((1, 2, 3))])
def test_bytes_that_are_no_video_fail_the_job(world: World, data: bytes) -> None:
    world.submit(video=uploaded(world, data))
    assert failure(world, world.preparer().work()).code == "media_type_refused"


def test_an_upload_that_is_gone_fails_the_job(world: World) -> None:
    world.submit(video=new_upload_id())
    error = failure(world, world.preparer().work())
    assert (error.code, error.fix) == ("media_unavailable", "upload it again")


def test_a_server_that_fails_is_asked_again_and_in_the_end_the_client_may(world: World, server: MediaServer) -> None:
    server.answers["/a"] = Answer(status=503)
    world.submit(video=server.url("/a", HOST))
    preparer = world.preparer(allowed=as_if_public)
    for tries in (1, 2):
        assert preparer.work() is Outcome.FAILED
        record = world.store.get(JOB)
        assert (record.status, record.lane(Lane.PREPARE).attempts) == (JobStatus.QUEUED, tries)
        world.rest()
    error = failure(world, preparer.work())
    assert (error.code, error.retryable, error.fix) == ("media_fetch_failed", True, "try again later")


def test_a_redirect_to_a_host_that_cannot_be_fails_the_job_by_its_own_name(world: World, server: MediaServer) -> None:
    server.answers["/a"] = redirect("http://xn--/")
    world.submit(video=server.url("/a", HOST))
    error = failure(world, world.preparer(allowed=as_if_public).work())
    assert (error.code, error.retryable) == ("media_url_refused", False)
    assert error.fix


def test_a_server_that_recovers_costs_only_a_try(world: World, server: MediaServer, video: bytes) -> None:
    server.answers["/a"] = Answer(status=503)
    world.submit(video=server.url("/a", HOST))
    preparer = world.preparer(allowed=as_if_public)
    preparer.work()
    server.answers["/a"] = Answer(video)
    world.rest()
    assert preparer.work() is Outcome.COMMITTED


def test_an_outage_of_the_object_store_is_waited_for(world: World, video: bytes) -> None:
    world.submit(video=uploaded(world, video))
    world.storage.broken = True
    mended = threading.Timer(0.3, setattr, (world.storage, "broken", False))
    mended.start()
    assert world.preparer().work() is Outcome.COMMITTED
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
        assert world.preparer(allowed=as_if_public).work() is Outcome.INTERRUPTED
    record = world.store.get(JOB)
    assert (record.status, record.lane(Lane.PREPARE).attempts) == (JobStatus.CANCELED, 0)
    assert not world.store.lease_alive(JOB, Lane.PREPARE)


def test_a_drain_does_not_wait_for_a_slow_server_and_the_try_does_not_count(
    world: World, server: MediaServer, video: bytes
) -> None:
    server.answers["/a"] = Answer(video, after=threading.Event())
    world.submit(video=server.url("/a", HOST))
    world.queue.messages.clear()
    services = world.services()
    with once_asked(server, services.drain.set):
        assert world.preparer(services, as_if_public).work() is Outcome.INTERRUPTED
    assert world.store.get(JOB).lane(Lane.PREPARE).attempts == 0
    assert world.tasks() == [queue.TASK_PREPARE_MEDIA]


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


def prepared_job(world: World, data: bytes, num_frames: int = 40) -> PreparedMedia:
    """What is ready of JOB, which begins with an upload of this video."""
    world.submit(video=uploaded(world, data), num_frames=num_frames)
    world.preparer().work()
    prepared = world.store.get(JOB).prepared
    assert prepared is not None
    return prepared


@pytest.mark.parametrize("missing", [True, False])
def test_damaged_pixels_are_prepared_again(world: World, video: bytes, missing: bool) -> None:
    prepared = prepared_job(world, video)
    world.storage.objects[prepared.key] = b"?"
    if missing:
        del world.storage.objects[prepared.key]
    assert world.maker().work() is Outcome.INTERRUPTED
    assert world.store.get(JOB).lane(Lane.GENERATE).attempts == 0
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert numbers_of(first_chunk(world)) == list(range(24, 40))


def test_a_storage_that_loses_what_is_prepared_each_time_fails_the_job_in_the_end(world: World, video: bytes) -> None:
    prepared_job(world, video)
    for _ in range(world.settings.max_attempts):
        world.storage.delete([*world.storage.list(inputs_prefix(JOB))])
        assert world.maker().work() is Outcome.INTERRUPTED
        assert world.preparer().work() is Outcome.COMMITTED
    world.storage.delete([*world.storage.list(inputs_prefix(JOB))])
    error = failure(world, world.maker().work())
    assert (error.code, error.retryable) == ("prepare_error", True)


def test_states_lost_after_chunk_1_are_made_again_from_the_prepared_pixels(world: World, video: bytes) -> None:
    prepared_job(world, video)
    maker = world.maker()
    maker.work()
    before = world.storage.objects[chunk_key(JOB, 0)]
    world.storage.delete_prefix(f"{job_prefix(JOB)}state/")
    assert world.maker(services=world.services("worker-2")).work() is Outcome.COMMITTED
    assert world.storage.objects[chunk_key(JOB, 0)] == before


def test_lost_states_and_pixels_are_made_again_from_the_upload(world: World, video: bytes) -> None:
    prepared = prepared_job(world, video)
    world.maker().work()
    before = world.storage.objects[chunk_key(JOB, 0)]
    world.storage.delete([prepared.key, *world.storage.list(f"{job_prefix(JOB)}state/")])
    assert world.maker(services=world.services("worker-2")).work() is Outcome.INTERRUPTED
    assert world.maker(services=world.services("worker-2")).work() is Outcome.DROPPED, "not before it is prepared"
    world.work(world.maker(services=world.services("worker-3")))
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert world.storage.objects[chunk_key(JOB, 0)] == before


def test_a_source_that_changed_since_fails_the_job_and_no_frames_are_mixed(
    world: World, server: MediaServer, video: bytes, tmp_path: Path
) -> None:
    server.answers["/a"] = Answer(video)
    world.submit(video=server.url("/a", HOST))
    preparer = world.preparer(allowed=as_if_public)
    preparer.work()
    world.maker().work()
    server.answers["/a"] = Answer(clip(tmp_path / "b.mp4", 60, fps=8, height=64, width=64).read_bytes())
    world.storage.delete([*world.storage.list(f"{job_prefix(JOB)}state/"), *world.storage.list(inputs_prefix(JOB))])
    maker = world.maker(services=world.services("worker-2"))
    assert [maker.work(), preparer.work(), maker.work()] == [Outcome.INTERRUPTED, Outcome.COMMITTED, Outcome.FAILED]
    error = world.store.get(JOB).error
    assert error is not None
    assert error.code == "chunk_not_repeatable"


def test_prepared_pixels_survive_the_loss_of_redis_and_nothing_is_fetched_again(
    world: World, server: MediaServer, video: bytes
) -> None:
    server.answers["/a"] = Answer(video)
    world.submit(video=server.url("/a", HOST))
    world.preparer(allowed=as_if_public).work()
    world.store.purge(JOB)
    assert world.store.restore(*read_job(world.storage, JOB))
    assert world.maker().work() is Outcome.COMMITTED
    assert server.paths() == ["/a"]


def test_the_exact_pixels_go_when_the_job_has_ended(world: World, video: bytes) -> None:
    prepared = prepared_job(world, video, num_frames=16)
    assert prepared.key in world.storage.objects
    world.work(world.maker())
    assert list(world.storage.list(inputs_prefix(JOB))) == []


def test_warnings_about_the_file_are_added_to_the_job_once(world: World, video: bytes) -> None:
    odd = JobWarning(code="hdr_converted", message="the clip is HDR", field="video")

    def decode(order: DecodeRequest, tick: Callable[[], None]) -> tuple[JobWarning, ...]:
        decode_media(order, tick)
        return (odd,)

    world.submit(video=uploaded(world, video))
    preparer = MediaPreparer(world.services(), InputMediaReader(world.services(), decode=decode))
    preparer.work()
    world.storage.delete([*world.storage.list(inputs_prefix(JOB))])
    world.maker().work()
    preparer.work()
    assert world.store.get(JOB).warnings == (odd,)


def test_a_file_larger_than_the_empty_disk_fails_and_is_not_retried(world: World, video: bytes) -> None:
    world.settings = world.settings.model_copy(update={"media_disk_bytes": len(video) - 1})
    world.submit(video=uploaded(world, video))
    error = failure(world, world.preparer().work())
    assert (error.code, error.retryable) == ("media_too_large", False)


def test_files_beyond_the_disk_space_are_retried_later_without_an_attempt(world: World, video: bytes) -> None:
    world.settings = world.settings.model_copy(update={"media_disk_bytes": 3 * len(video) // 2})
    for job_id in (JOB, "job_later"):
        world.submit(job_id, video=uploaded(world, video))
    meanwhile: list[Outcome] = []

    def decode(order: DecodeRequest, tick: Callable[[], None]) -> tuple[JobWarning, ...]:
        tick()
        if not meanwhile:
            meanwhile.append(preparer.work())
        order.result.write_bytes(b"")
        return ()

    services = world.services("cpu-1")
    preparer = MediaPreparer(services, InputMediaReader(services, decode=decode))
    assert preparer.work() is Outcome.COMMITTED
    assert meanwhile == [Outcome.INTERRUPTED]
    assert world.store.get("job_later").lane(Lane.PREPARE).attempts == 0
    assert preparer.work() is Outcome.DROPPED, "it rests"
    world.rest()
    assert preparer.work() is Outcome.COMMITTED


def test_a_decoder_that_hangs_costs_its_job_an_attempt_and_finally_the_job_fails(world: World, video: bytes) -> None:
    def decode(order: DecodeRequest, tick: Callable[[], None]) -> tuple[JobWarning, ...]:
        tick()
        raise DecodingStalled(f"decoding the {order.kind} did not end")

    world.submit(video=uploaded(world, video))
    preparer = MediaPreparer(world.services("cpu-1"), InputMediaReader(world.services("cpu-1"), decode=decode))
    for tries in (1, 2, 3):
        assert world.store.get(JOB).status is JobStatus.QUEUED
        with pytest.raises(DecodingStalled):
            preparer.work()
        assert world.store.get(JOB).lane(Lane.PREPARE).attempts == tries
        world.rest()
    assert failure(world, Outcome.FAILED).code == "prepare_error"


MB = 1_000_000


def taken(budget: DiskBudget, owner: str, *sizes: int) -> DiskReservation:
    reservation = DiskReservation(budget, owner)
    for size in sizes:
        reservation.take(size)
    return reservation


def is_full(budget: DiskBudget, owner: str, *sizes: int) -> bool:
    try:
        taken(budget, owner, *sizes).clear()
    except OSError as error:
        return error.errno == errno.ENOSPC
    return False


def test_no_owner_has_more_than_a_quarter_of_the_disk() -> None:
    budget = DiskBudget(4000 * MB, 600 * MB)
    rooms = [taken(budget, "slow", 490 * MB), taken(budget, "slow", 490 * MB)]
    assert is_full(budget, "slow", 490 * MB)
    assert not is_full(budget, "other", 490 * MB, 100 * MB)
    rooms[0].clear()
    assert not is_full(budget, "slow", 490 * MB)


def test_small_files_have_disk_space_when_large_ones_use_all_of_theirs() -> None:
    budget = DiskBudget(4000 * MB, 600 * MB)
    for number in range(7):
        taken(budget, f"slow-{number}", 490 * MB)
    assert is_full(budget, "large", 15 * MB, 490 * MB)
    assert not is_full(budget, "small", 15 * MB)


def test_a_file_larger_than_a_share_is_too_large_however_much_room_there_is() -> None:
    with pytest.raises(MediaTooLarge):
        taken(DiskBudget(4000 * MB, 600 * MB), "a", 900 * MB, 200 * MB)
    assert not is_full(DiskBudget(1000 * MB, 600 * MB), "a", 600 * MB), "but never one of the size allowed"


def test_any_number_of_workers_may_die_while_they_prepare(world: World, video: bytes) -> None:
    """What strangers made is decoded elsewhere; a job that is in work beside a deadly one is not to blame."""
    world.submit(video=uploaded(world, video))
    for number in range(LONELY_DEATHS + 1):
        assert world.store.claim(JOB, Lane.PREPARE, f"killed-{number}", 30)
        world.clock.advance(31)
    assert world.preparer().work() is Outcome.COMMITTED


def release(server: MediaServer) -> None:
    event = server.answers["/a"].after
    assert event is not None
    event.set()
