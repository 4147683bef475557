"""Names are looked up within a limit, whatever the system's resolver does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence

import pytest

from core.service.address_guard import check_url
from core.service.errors import NameServiceUnavailable, WebhookUrlRefused
from core.service.resolver import BoundedResolver, check_name


class TarPit:
    """A name server that does not answer before it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = threading.Event()

    def __call__(self, host: str, port: int) -> Sequence[str]:  # noqa: ARG002 - Resolve's signature
        self.asked += 1
        self.answer.wait(30)
        return ["8.8.8.8"]


def test_a_name_server_that_hangs_costs_its_limit_and_is_named() -> None:
    pit = TarPit()
    began = time.monotonic()
    with pytest.raises(NameServiceUnavailable):
        check_url("https://example.com/", resolve=BoundedResolver(0.1, pit))
    assert time.monotonic() - began < 5
    pit.answer.set()


def test_the_same_name_is_looked_up_once_at_a_time() -> None:
    pit = TarPit()
    resolve = BoundedResolver(0.05, pit)
    for _ in range(5):
        with pytest.raises(NameServiceUnavailable):
            resolve("example.com", 443)
    assert pit.asked == 1
    pit.answer.set()


def test_too_many_lookups_that_hang_refuse_others_at_once() -> None:
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

    bounded = BoundedResolver(5, resolve)
    assert check_url("https://example.com/", resolve=bounded) == ["8.8.8.8"]
    with pytest.raises(WebhookUrlRefused):
        check_url("https://none.example.com/", resolve=bounded)


def test_a_temporary_failure_of_the_name_service_is_no_fault_of_the_url() -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_AGAIN, f"{host}:{port}")

    with pytest.raises(NameServiceUnavailable):
        check_url("https://example.com/", resolve=BoundedResolver(5, resolve))


def test_addresses_and_sockets_need_no_name_service() -> None:
    for host in ("127.0.0.1", "::1", "", None):
        check_name(host, 6379, 0.0)
