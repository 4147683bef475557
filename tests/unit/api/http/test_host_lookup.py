"""Host names are looked up only for valid requests, within the limit of the client."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from core.service.net.resolver import BoundedResolver
from tests.helpers.api_world import BASE_URL, PROMPT, World

URL = "https://hooks.example.com/"


class Names:
    """A name server; names below `pit.example` are answered only when the test says so."""

    def __init__(self) -> None:
        self.asked = list[str]()
        self.answer = threading.Event()

    def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        if host.endswith(".pit.example"):
            self.answer.wait(30)
        return ["8.8.8.8"]


def client(world: World, names: BoundedResolver, address: str = "192.0.2.1") -> TestClient:
    app = create_app(world.settings, replace(world.ports(), resolve=names))
    return TestClient(app, base_url=BASE_URL, client=(address, 1))


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": 1, "webhook_url": URL},
        {"prompt": PROMPT, "webhook_url": URL, "unknown": 1},
        {"prompt": PROMPT, "video": URL, "num_frames": "48"},
        {"prompt": PROMPT, "image": URL, "webhook_events": ["none"]},
    ],
)
def test_a_body_that_is_no_request_costs_no_look_up(world: World, body: dict[str, Any]) -> None:
    names = Names()
    with client(world, BoundedResolver(resolve=names)) as api:
        assert api.post("/jobs", json=body).status_code == 422
        assert names.asked == []
        assert api.post("/jobs", json={"prompt": PROMPT, "webhook_url": URL}).status_code == 202
    assert names.asked == ["hooks.example.com"]


@pytest.mark.parametrize("fields", [{"image": URL}, {"video": URL}, {"control": {"type": "canny", "video": URL}}])
def test_every_url_is_looked_up_once_and_not_by_the_thread_that_admits(world: World, fields: dict[str, Any]) -> None:
    names = Names()
    with client(world, BoundedResolver(resolve=names)) as api:
        api.post("/jobs", json={"prompt": PROMPT, **fields})
    assert names.asked == ["hooks.example.com"]


def test_dead_names_of_one_client_leave_room_for_others(world: World) -> None:
    names = Names()
    resolver = BoundedResolver(0.1, names, max_lookups=4, max_per_domain=4, max_per_client=2)
    with client(world, resolver) as flooder, client(world, resolver, "192.0.2.2") as other:
        answers = [
            flooder.post("/jobs", json={"prompt": PROMPT, "webhook_url": f"http://h{n}.pit.example/"}) for n in range(4)
        ]
        good = other.post("/jobs", json={"prompt": PROMPT, "webhook_url": URL})
        names.answer.set()
    assert [answer.json()["code"] for answer in answers] == ["name_service_unavailable"] * 4
    assert "your address" in answers[-1].json()["detail"]
    assert good.status_code == 202
