"""The places in which media are prepared: many at a time, and no source has them all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from core.service.address_guard import UrlUse
from core.service.fakes import FakeTaskQueue, FakeWorkerRegistry
from core.service.media.uploads import new_upload_id, upload_key
from core.service.schema import JobStatus, JobWarning, Lane
from core.service.settings import Settings
from tests.helpers.clips import picture
from tests.helpers.deadline import eventually
from tests.helpers.fake_world import World
from tests.helpers.media_server import Answer, MediaServer, serving_media
from worker.decoding import DecodeOrder, decode_here
from worker.given import GivenReader
from worker.names import slot_names
from worker.prepare import Places, Preparer, Source
from worker.undertaker import give_back

PNG = picture((200, 100, 50))


def on_loopback(url: str, settings: Settings, use: UrlUse) -> Sequence[str]:
    """All hosts are this machine."""
    del url, settings, use
    return ["127.0.0.1"]


SLOW, QUICK = "slow.example.com", "quick.example.com"


@pytest.fixture
def server() -> Iterator[MediaServer]:
    with serving_media() as server:
        server.answers |= {"/slow": Answer(PNG, after=threading.Event()), "/a": Answer(PNG)}
        yield server


@contextmanager
def preparing(world: World, **settings: int) -> Generator[Preparer]:
    world.settings = world.settings.model_copy(update={"media_fetches": 4, "media_fetches_per_host": 2, **settings})
    services = world.services("cpu-1")
    reader = GivenReader(services, on_loopback, decode_here)
    preparer = Preparer(services, reader).start()
    try:
        yield preparer
    finally:
        services.drain.set()
        preparer.stop(10)


def submit(world: World, job_id: str, reference: str) -> None:
    world.submit(job_id, image=reference)
    world.clock.advance(1)


def is_ready(world: World, job_id: str) -> bool:
    return world.store.get(job_id).prepared is not None


def test_jobs_that_name_a_slow_host_wait_and_all_others_pass_them(world: World, server: MediaServer) -> None:
    for number in range(12):
        submit(world, f"job_slow_{number}", server.url("/slow", SLOW))
    submit(world, "job_quick", server.url("/a", QUICK))
    upload_id = new_upload_id()
    world.storage.put(upload_key(upload_id), PNG, "image/png")
    submit(world, "job_upload", upload_id)
    with preparing(world):
        for job_id in ("job_quick", "job_upload"):
            eventually(lambda job_id=job_id: is_ready(world, job_id), f"{job_id} to be ready")
        eventually(lambda: server.paths().count("/slow") == 2, "the slow host's share of the places to be taken")
        event = server.answers["/slow"].after
        assert event is not None
        event.set()
        eventually(lambda: all(is_ready(world, f"job_slow_{n}") for n in range(12)), "the others to have their turn")


def test_far_more_waiting_jobs_of_one_host_than_are_looked_at_first_hide_no_other(
    world: World, server: MediaServer
) -> None:
    for number in range(100):
        submit(world, f"job_slow_{number:03d}", server.url("/slow", SLOW))
    submit(world, "job_quick", server.url("/a", QUICK))
    with preparing(world):
        eventually(lambda: is_ready(world, "job_quick"), "the last to be ready")


def test_a_drain_gives_all_of_them_back_and_no_try_counts(world: World, server: MediaServer) -> None:
    for number in range(4):
        submit(world, f"job_{number}", server.url("/slow", f"host-{number}.example.com"))
    with preparing(world):
        eventually(lambda: server.paths().count("/slow") == 3, "three quarters of the places to be taken")
    for number in range(4):
        lane = world.store.get(f"job_{number}").lane(Lane.PREPARE)
        assert (lane.held, lane.attempts, lane.deaths) == (False, 0, 0)


def test_what_a_dead_process_had_in_hand_is_given_back_for_each_of_its_places(world: World) -> None:
    for number, name in enumerate(slot_names("cpu-1", 3)):
        submit(world, f"job_{number}", "https://example.com/a.png")
        assert world.store.claim(f"job_{number}", Lane.PREPARE, name, 30)
    for name in slot_names("cpu-1", 3):
        give_back(world.store, FakeWorkerRegistry(), FakeTaskQueue(), name)
    assert len(world.store.ready(Lane.PREPARE, "", 10)) == 3


def test_uploads_and_urls_leave_each_other_room() -> None:
    upload, hosts = Source(None), [Source(f"host-{number}") for number in range(8)]
    for mine, others in ((hosts, [upload]), ([upload] * 8, hosts)):
        places = Places(slot_names("cpu-1", 4), per_host=1)
        taken = [places.take(source) for source in mine if places.has_one_for(source)]
        assert len(taken) == 3
        assert places.has_one_for(others[0])


def test_one_place_serves_everybody_in_turn() -> None:
    places = Places(slot_names("cpu-1", 1), per_host=4)
    for source in (Source(None), Source("a")):
        assert places.has_one_for(source)
        slot = places.take(source)
        assert not places.has_one_for(source)
        places.give_back(slot, source)


@dataclass
class Gate:
    """A decoder that waits until it is told to go on."""

    opened: threading.Event = field(default_factory=threading.Event)
    begun: list[Path] = field(default_factory=list[Path])

    def __call__(self, order: DecodeOrder, tick: Callable[[], None]) -> tuple[JobWarning, ...]:
        self.begun.append(order.file)
        while not self.opened.wait(0.05):
            tick()
        return decode_here(order, tick)


def test_a_cancelled_job_ends_at_once_and_leaves_nothing(world: World, server: MediaServer) -> None:
    submit(world, "job_a", server.url("/a", QUICK))
    gate = Gate()
    services = world.services("cpu-1")
    preparer = Preparer(services, GivenReader(services, on_loopback, gate)).start()
    eventually(lambda: gate.begun, "decoding to begin")
    assert world.store.request_cancel("job_a").status is JobStatus.CANCELED
    eventually(lambda: not world.store.lease_alive("job_a", Lane.PREPARE), "the place to be free")
    assert not gate.begun[0].parent.exists()
    services.drain.set()
    preparer.stop(10)


def test_many_that_do_not_come_to_an_end_keep_a_worker_that_stops_no_longer_than_one(
    world: World, server: MediaServer
) -> None:
    never = threading.Event()

    def hang(_order: DecodeOrder, _tick: Callable[[], None]) -> tuple[JobWarning, ...]:
        never.wait(60)
        return ()

    world.settings = world.settings.model_copy(update={"media_fetches": 16, "media_fetches_per_host": 8})
    for number in range(8):
        submit(world, f"job_{number}", server.url("/a", QUICK))
    services = world.services("cpu-1")
    preparer = Preparer(services, GivenReader(services, on_loopback, hang)).start()
    try:
        eventually(lambda: len(server.seen) == 8, "all to be in hand")
        began = time.monotonic()
        preparer.stop(0.5)
        assert time.monotonic() - began < 2.5
    finally:
        never.set()
        preparer.stop(10)
