"""The prepare lane: many files at a time, and no source can use all slots."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from core.service.domain.errors import StorageError
from core.service.domain.ids import new_upload_id
from core.service.domain.ports import Lease, media_thread_names
from core.service.domain.schema import JobStatus, JobWarning, Lane
from core.service.domain.uploads import upload_key
from core.service.media.allowed_addresses import media_addresses
from core.service.media.uploads import UploadRequest, new_upload
from core.service.net.address_guard import UrlUse
from core.service.net.resolver import BoundedResolver
from core.service.settings import Settings
from core.service.testing.job_store import FakeJobStore
from core.service.testing.queue import FakeTaskQueue
from core.service.testing.registries import FakeWorkerRegistry
from tests.helpers.clips import picture
from tests.helpers.deadline import eventually
from tests.helpers.fake_world import World
from tests.helpers.jobs import job_spec, queued_job
from tests.helpers.media_server import Answer, MediaServer, serving_media
from worker.lanes.prepare import FIRST_SCAN, LONGEST_SCAN, PreparePool
from worker.maintenance.dead_workers import release_lease_of
from worker.media.decode import DecodeRequest, decode_media
from worker.media.input_media import InputMediaReader
from worker.media.media_concurrency import FetchSlots, Source

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
def preparing(world: World, **settings: int) -> Generator[PreparePool]:
    world.settings = world.settings.model_copy(update={"media_fetches": 4, "media_fetches_per_host": 2, **settings})
    services = world.services("cpu-1")
    reader = InputMediaReader(services, on_loopback, decode_media)
    preparer = PreparePool(services, reader).start()
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


def test_jobs_with_a_slow_host_wait_and_all_others_overtake_them(world: World, server: MediaServer) -> None:
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


def test_many_waiting_jobs_of_one_host_hide_no_other(world: World, server: MediaServer) -> None:
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


def test_leases_of_a_dead_process_are_released_for_each_of_its_slots(world: World) -> None:
    for number, name in enumerate(media_thread_names("cpu-1", 3)):
        submit(world, f"job_{number}", "https://example.com/a.png")
        assert world.store.claim(f"job_{number}", Lane.PREPARE, name, 30)
    for name in media_thread_names("cpu-1", 3):
        release_lease_of(world.store, FakeWorkerRegistry(), FakeTaskQueue(), name)
    assert len(world.store.ready(Lane.PREPARE, "", 10)) == 3


def upload_of(client: str) -> Source:
    return Source(is_upload=True, host=client, domain=client)


def test_uploads_and_urls_leave_each_other_room() -> None:
    uploads, hosts = [upload_of(str(n)) for n in range(8)], [Source.of_host(f"host-{n}") for n in range(8)]
    for mine, others in ((hosts, uploads), (uploads, hosts)):
        slots = FetchSlots(media_thread_names("cpu-1", 4), per_host=1)
        assert len(all_that_have_slots(slots, mine)) == 3
        assert slots.has_slot_for(others[0])


def test_one_slot_serves_all_in_turn() -> None:
    slots = FetchSlots(media_thread_names("cpu-1", 1), per_host=4)
    for source in (upload_of("a"), Source.of_host("a")):
        assert slots.has_slot_for(source)
        slot = slots.take(source)
        assert not slots.has_slot_for(source)
        slots.give_back(slot, source)


def all_that_have_slots(slots: FetchSlots, sources: Sequence[Source]) -> list[str]:
    return [slots.take(source) for source in sources if slots.has_slot_for(source)]


@pytest.mark.parametrize("zone", ["evil.example", "evil.co.uk"])
def test_names_below_one_domain_share_the_slots_of_two_hosts(zone: str) -> None:
    slots = FetchSlots(media_thread_names("cpu-1", 32), per_host=4)
    assert len(all_that_have_slots(slots, [Source.of_host(f"a{n}.{zone}") for n in range(24)])) == 8
    assert slots.has_slot_for(Source.of_host("a.other.co.uk"))


def test_uploads_of_one_client_have_no_more_slots_than_one_host(world: World) -> None:
    def upload(client: str | None) -> Source:
        made = new_upload(UploadRequest(content_type="image/png", size_bytes=9), Settings(), world.clock.now(), client)
        world.uploads.create(made)
        return Source.of(job_spec(image=made.id), world.uploads)

    slots = FetchSlots(media_thread_names("cpu-1", 32), per_host=4)
    assert len(all_that_have_slots(slots, [upload("one") for _ in range(32)])) == 4
    assert slots.has_slot_for(upload("other"))
    assert upload(None) != upload(None), "an older version's: each by itself"


def test_deleting_the_uploads_of_ones_jobs_gives_no_more_slots(world: World) -> None:
    slots = FetchSlots(media_thread_names("cpu-1", 32), per_host=4)
    deleted = [Source.of(job_spec(image=new_upload_id()), world.uploads) for _ in range(32)]
    assert len(all_that_have_slots(slots, deleted)) == 4


def test_no_more_jobs_are_prepared_ahead_than_the_setting_allows(world: World, server: MediaServer) -> None:
    for number in range(8):
        submit(world, f"job_{number}", server.url("/a", QUICK))

    def ready() -> list[str]:
        return [f"job_{number}" for number in range(8) if is_ready(world, f"job_{number}")]

    with preparing(world, media_fetches=1, media_ready_ahead=2) as preparer:
        eventually(lambda: len(ready()) == 2, "two to be ready")
        preparer.scan()
        preparer.scan()
        assert ready() == ["job_0", "job_1"]
        assert world.store.claim("job_0", Lane.GENERATE, "gpu", 30)
        eventually(lambda: ready() == ["job_0", "job_1", "job_2"], "the next to be ready")
        preparer.scan()
        assert len(server.seen) == 3


def test_jobs_that_have_begun_are_prepared_again_however_many_are_ready(world: World, server: MediaServer) -> None:
    submit(world, "job_begun", server.url("/a", QUICK))
    submit(world, "job_ready", server.url("/a", QUICK))
    submit(world, "job_waits", server.url("/a", QUICK))
    with preparing(world, media_fetches=1, media_ready_ahead=1):
        eventually(lambda: is_ready(world, "job_begun"), "the first to be ready")
        lease = world.store.claim("job_begun", Lane.GENERATE, "gpu", 30)
        assert lease
        eventually(lambda: is_ready(world, "job_ready"), "the second to be ready")
        world.store.repair(lease, (), media=True)
        eventually(lambda: is_ready(world, "job_begun"), "it to be ready again")
        assert not is_ready(world, "job_waits")


@dataclass
class Store:
    """A port of which some calls fail."""

    store: FakeJobStore
    unreadable: str = ""
    asked_for: list[int] = field(default_factory=list[int])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def ready(self, lane: Lane, model: str, limit: int) -> Sequence[str]:
        self.asked_for.append(limit)
        return self.store.ready(lane, model, limit)

    def claim(self, job_id: str, lane: Lane, worker: str, ttl_seconds: float) -> Lease | None:
        if job_id == self.unreadable:
            raise StorageError("its manifest cannot be read")
        return self.store.claim(job_id, lane, worker, ttl_seconds)


@contextmanager
def looking(world: World, store: Store, **others: Any) -> Generator[PreparePool]:
    """One that looks when it is told to only."""
    services = replace(world.services("cpu-1"), store=store)
    try:
        yield PreparePool(services, InputMediaReader(services, on_loopback, decode_media), **others)
    finally:
        services.drain.set()


def test_a_job_that_cannot_be_claimed_takes_no_slot_and_hides_no_other(world: World, server: MediaServer) -> None:
    world.settings = world.settings.model_copy(update={"media_fetches": 1})
    submit(world, "job_a", server.url("/a", QUICK))
    submit(world, "job_b", server.url("/a", QUICK))
    with looking(world, Store(world.store, unreadable="job_a")) as preparer:
        preparer.scan()
        eventually(lambda: is_ready(world, "job_b"), "the other to be ready")


class NoThread(threading.Thread):
    """This machine can have no more."""

    def start(self) -> None:
        raise RuntimeError("can't start new thread")


def test_a_thread_that_cannot_start_costs_no_slot_and_no_lease(world: World, server: MediaServer) -> None:
    world.settings = world.settings.model_copy(update={"media_fetches": 1})
    submit(world, "job_a", server.url("/a", QUICK))
    kinds = [NoThread, NoThread, threading.Thread]

    def new_thread(**given: Any) -> threading.Thread:
        return kinds.pop(0)(**given)

    with looking(world, Store(world.store), new_thread=new_thread) as preparer:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="new thread"):
                preparer.scan()
            assert not world.store.lease_alive("job_a", Lane.PREPARE)
        preparer.scan()
        eventually(lambda: is_ready(world, "job_a"), "it to be ready all the same")
    assert world.store.get("job_a").lane(Lane.PREPARE).attempts == 0


def test_a_long_queue_is_looked_through_now_and_then_only(
    world: World, server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.lanes.prepare.FULL_SCAN_SECONDS", 3600.0)
    world.settings = world.settings.model_copy(update={"media_fetches_per_host": 1})
    for number in range(LONGEST_SCAN + 5):
        world.store.create(queued_job(number, image=server.url("/slow", SLOW)))
    store = Store(world.store)
    with looking(world, store) as preparer:
        preparer.scan()
        assert max(store.asked_for) > LONGEST_SCAN, "nobody is hidden for ever"
        store.asked_for.clear()
        preparer.scan()
    assert (store.asked_for[0], max(store.asked_for)) == (FIRST_SCAN, LONGEST_SCAN)


def test_a_name_server_that_never_answers_takes_its_own_domains_places_only(world: World, server: MediaServer) -> None:
    answers = threading.Event()

    def resolve(host: str, port: int) -> Sequence[str]:
        del port
        if host.endswith(".pit.example"):
            answers.wait(300)
        return ["127.0.0.1"]

    world.settings = world.settings.model_copy(
        update={"media_fetches": 4, "media_fetches_per_host": 1, "media_allow_private_addresses": True}
    )
    for number in range(12):
        submit(world, f"job_pit_{number}", server.url("/a", f"a{number}.pit.example"))
    submit(world, "job_quick", server.url("/a", QUICK))
    services = world.services("cpu-1")
    preparer = PreparePool(
        services, InputMediaReader(services, media_addresses(BoundedResolver(300, resolve)), decode_media)
    )
    preparer.scan()
    eventually(lambda: is_ready(world, "job_quick"), "the other to be ready")
    assert not any(is_ready(world, f"job_pit_{number}") for number in range(12))
    services.drain.set()
    answers.set()


@dataclass
class Gate:
    """A decoder that waits until it is told to go on."""

    opened: threading.Event = field(default_factory=threading.Event)
    begun: list[Path] = field(default_factory=list[Path])

    def __call__(self, order: DecodeRequest, tick: Callable[[], None]) -> tuple[JobWarning, ...]:
        self.begun.append(order.file)
        while not self.opened.wait(0.05):
            tick()
        return decode_media(order, tick)


def test_a_cancelled_job_ends_at_once_and_leaves_nothing(world: World, server: MediaServer) -> None:
    submit(world, "job_a", server.url("/a", QUICK))
    gate = Gate()
    services = world.services("cpu-1")
    preparer = PreparePool(services, InputMediaReader(services, on_loopback, gate)).start()
    eventually(lambda: bool(gate.begun), "decoding to begin")
    assert world.store.request_cancel("job_a").status is JobStatus.CANCELED
    eventually(lambda: not world.store.lease_alive("job_a", Lane.PREPARE), "the place to be free")
    assert not gate.begun[0].parent.exists()
    services.drain.set()
    preparer.stop(10)


def test_many_that_do_not_come_to_an_end_keep_a_worker_that_stops_no_longer_than_one(
    world: World, server: MediaServer
) -> None:
    never = threading.Event()

    def hang(_order: DecodeRequest, _tick: Callable[[], None]) -> tuple[JobWarning, ...]:
        never.wait(300)
        return ()

    world.settings = world.settings.model_copy(update={"media_fetches": 16, "media_fetches_per_host": 8})
    for number in range(8):
        submit(world, f"job_{number}", server.url("/a", QUICK))
    services = world.services("cpu-1")
    preparer = PreparePool(services, InputMediaReader(services, on_loopback, hang)).start()
    try:
        eventually(lambda: len(server.seen) == 8, "all to be in hand")
        began = time.monotonic()
        preparer.stop(2.0)
        assert time.monotonic() - began < 10, "one after the other they would cost 16 s"
    finally:
        never.set()
        preparer.stop(10)
