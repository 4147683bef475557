"""Name look-ups are limited in time and number, whatever the system's resolver does."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from core.service.domain.errors import NameServiceUnavailable, WebhookUrlRefused
from core.service.net.address_guard import check_url
from core.service.net.resolver import BoundedResolver, LookupsBusy, check_name, domain_of
from tests.helpers.deadline import eventually, eventually_on_the_loop


class TarPit:
    """A name server that does not answer before it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = threading.Event()

    def __call__(self, host: str, port: int) -> Sequence[str]:  # noqa: ARG002 - Resolve's signature
        self.asked += 1
        self.answer.wait(300)
        return ["8.8.8.8"]


def test_a_name_server_that_hangs_costs_its_limit_and_is_named() -> None:
    pit = TarPit()
    with pytest.raises(NameServiceUnavailable):
        check_url("https://example.com/", resolve=BoundedResolver(0.1, pit))
    pit.answer.set()


def test_the_same_name_is_looked_up_once_at_a_time() -> None:
    pit = TarPit()
    resolve = BoundedResolver(0.05, pit)
    for _ in range(5):
        with pytest.raises(NameServiceUnavailable):
            resolve("example.com", 443)
    assert pit.asked == 1
    pit.answer.set()


def test_while_too_many_lookups_hang_others_are_refused() -> None:
    pit = TarPit()
    resolve = BoundedResolver(0.05, pit, max_lookups=3)
    for number in range(5):
        with pytest.raises(NameServiceUnavailable):
            resolve(f"host{number}.example.com", 443)
    assert pit.asked == 3
    pit.answer.set()


def test_an_answer_passes_and_a_name_without_address_is_refused_as_ever() -> None:
    def resolve(host: str, port: int) -> Sequence[str]:  # noqa: ARG001 - Resolve's signature
        if host == "none.example.com":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return ["8.8.8.8"]

    bounded = BoundedResolver(60, resolve)
    assert check_url("https://example.com/", resolve=bounded) == ["8.8.8.8"]
    with pytest.raises(WebhookUrlRefused):
        check_url("https://none.example.com/", resolve=bounded)


def test_a_temporary_failure_of_the_name_service_is_no_fault_of_the_url() -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_AGAIN, f"{host}:{port}")

    with pytest.raises(NameServiceUnavailable):
        check_url("https://example.com/", resolve=BoundedResolver(60, resolve))


def test_addresses_and_sockets_need_no_name_service() -> None:
    for host in ("127.0.0.1", "::1", "", None):
        check_name(host, 6379, 0.0)


def test_a_dead_name_server_of_one_domain_leaves_room_for_others() -> None:
    pit = TarPit()

    def resolve(host: str, port: int) -> Sequence[str]:
        return pit(host, port) if host.endswith(".pit.example") else ["8.8.8.8"]

    bounded = BoundedResolver(0.05, resolve, max_lookups=64, max_per_domain=4)
    refusals = list[str]()
    for number in range(60):
        with pytest.raises(NameServiceUnavailable) as caught:
            bounded(f"host{number}.pit.example", 443)
        refusals.append(caught.value.message)
    assert pit.asked == 4
    assert sum("under pit.example hang" in words for words in refusals) == 56
    assert bounded.within("good.example", 443, 60) == ["8.8.8.8"]
    pit.answer.set()


def test_room_comes_back_with_the_answers() -> None:
    pit = TarPit()
    bounded = BoundedResolver(0.05, pit, max_lookups=1, max_per_domain=1)
    with pytest.raises(NameServiceUnavailable):
        bounded("a.example.com", 443)
    pit.answer.set()
    eventually(lambda: _answers(bounded, "b.example.com"), "room for another look-up")


def _answers(resolve: BoundedResolver, host: str) -> bool:
    try:
        return bool(resolve.within(host, 443, 10))
    except NameServiceUnavailable:
        return False


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("example.com", "example.com"), ("a.b.Example.com.", "example.com"), ("a.example.co.uk", "example.co.uk"),
        ("a.b.example.de", "example.de"), ("localhost", "localhost"), ("10.0.0.1", ""), ("::1", ""),
    ],
)  # fmt: skip
def test_a_domain_is_what_one_owners_name_servers_answer_for(host: str, domain: str) -> None:
    assert domain_of(host) == domain


def test_a_lookup_on_an_event_loop_waits_without_a_thread_and_leaves_the_answer_to_others() -> None:
    pit = TarPit()
    bounded = BoundedResolver(0.2, pit)

    async def all_at_once() -> list[object]:
        waits = [bounded.ask("example.com", 443) for _ in range(500)]
        return list(await asyncio.gather(*waits, return_exceptions=True))

    assert all(isinstance(outcome, NameServiceUnavailable) for outcome in asyncio.run(all_at_once()))
    assert pit.asked == 1
    pit.answer.set()
    assert bounded.within("example.com", 443, 60) == ["8.8.8.8"]


def test_many_clients_with_a_working_name_server_wait_their_turn() -> None:
    """More names below one domain than may be looked up at a time: none is refused."""
    in_turn = threading.Semaphore(4)

    def resolve(host: str, port: int) -> Sequence[str]:
        assert in_turn.acquire(blocking=False), f"{host}:{port} is one too many"
        threading.Event().wait(0.01)
        in_turn.release()
        return ["8.8.8.8"]

    bounded = BoundedResolver(120, resolve, max_per_domain=4)

    async def all_at_once() -> list[Sequence[str]]:
        return list(await asyncio.gather(*(bounded.ask(f"h{n}.example.com", 443) for n in range(40))))

    assert asyncio.run(all_at_once()) == [["8.8.8.8"]] * 40
    with ThreadPoolExecutor(20) as clients:
        found = [clients.submit(bounded, f"t{n}.example.com", 443) for n in range(40)]
        assert [one.result() for one in found] == [["8.8.8.8"]] * 40


def test_an_address_needs_no_room() -> None:
    pit = TarPit()
    bounded = BoundedResolver(0.05, lambda host, port: ["10.0.0.1"] if host == "10.0.0.1" else pit(host, port), 1)
    with pytest.raises(NameServiceUnavailable):
        bounded("example.com", 443)
    assert bounded("10.0.0.1", 443) == ["10.0.0.1"]
    pit.answer.set()


def test_one_client_with_dead_names_below_many_domains_leaves_room_for_others() -> None:
    pit = TarPit()
    bounded = BoundedResolver(120, lambda host, port: pit(host, port) if "pit" in host else ["8.8.8.8"], 16, 4, 8)

    async def flood_and_others() -> tuple[list[object], list[Sequence[str]]]:
        ask = partial(bounded.ask, port=443, room_seconds=0.1)
        flood = [asyncio.create_task(ask(f"h{n}.pit{n}.example", client="192.0.2.1")) for n in range(30)]
        refused = lambda: [wait.exception() for wait in flood if wait.done()]  # noqa: E731
        await eventually_on_the_loop(lambda: len(refused()) == 22, "those without room to be refused")
        found = [await bounded.ask(f"good{n}.example", 443, client="192.0.2.2") for n in range(3)]
        refusals = list[object](refused())
        pit.answer.set()
        await asyncio.gather(*flood, return_exceptions=True)
        return refusals, found

    refusals, others = asyncio.run(flood_and_others())
    assert pit.asked == 8
    assert sum("your address" in str(refusal) for refusal in refusals) == len(refusals) == 22
    assert others == [["8.8.8.8"]] * 3


def test_a_look_up_for_which_there_is_no_thread_leaves_no_entry() -> None:
    """Threads with stacks that no address space has room for: none can be started."""
    bounded = BoundedResolver(60, lambda _host, _port: ["8.8.8.8"], max_lookups=1)
    usual = threading.stack_size(1 << 47)
    try:
        with pytest.raises(LookupsBusy, match="cannot start a thread"):
            bounded("example.com", 443)
    finally:
        threading.stack_size(usual)
    assert bounded("example.com", 443) == ["8.8.8.8"]
