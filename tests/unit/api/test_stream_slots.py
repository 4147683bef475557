"""Open event streams are limited, in all and per client, and the answer says what to do instead."""

from contextlib import suppress
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient

from api.stream_slots import FILES_FOR_OTHERS, StreamSlots, allow_open_files, client_of
from core.service.errors import TooManyStreams, TooManyStreamsOfClient
from core.service.settings import Settings
from tests.helpers.api_world import World, submit


def test_a_place_is_given_back_however_the_stream_ends() -> None:
    slots = StreamSlots(1, 1)
    with suppress(ZeroDivisionError), slots.place("a"):
        assert slots.taken == 1
        raise ZeroDivisionError
    with slots.place("a"):
        pass
    assert slots.taken == 0


def test_one_client_cannot_take_all_places() -> None:
    slots = StreamSlots(3, 2)
    with slots.place("a"), slots.place("a"):
        with pytest.raises(TooManyStreamsOfClient):
            slots.check("a")
        with slots.place("b"), pytest.raises(TooManyStreams):
            slots.check("c")


def limited(world: World, **limits: Any) -> TestClient:
    return world.client(Settings(presets_dir=world.settings.presets_dir, default_model="fake", **limits))


@pytest.mark.parametrize(
    ("limits", "status", "code"),
    [
        ({"max_event_streams": 1}, 503, "too_many_streams"),
        ({"max_event_streams_per_address": 1}, 429, "too_many_streams_of_client"),
    ],
)
def test_a_stream_beyond_the_limit_is_refused_with_a_way_out(
    world: World, limits: dict[str, int], status: int, code: str
) -> None:
    with limited(world, **limits) as api:
        job_id = submit(api, num_frames=16)
        world.finish(job_id)
        slots: StreamSlots = cast(Any, api.app).state.streams.slots
        with slots.place("testclient"):
            answer = api.get(f"/jobs/{job_id}/events")
            assert (answer.status_code, answer.json()["code"]) == (status, code)
            assert int(answer.headers["Retry-After"]) > 0
            assert "poll" in answer.json()["fix"]
            assert api.get(f"/jobs/{job_id}").status_code == 200
        assert api.get(f"/jobs/{job_id}/events").status_code == 200
        assert slots.taken == 0


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        (("203.0.113.7", 5000), "203.0.113.7"),
        (("2001:db8:1:2:aaaa::1", 5000), "2001:db8:1:2::/64"),
        (("::ffff:203.0.113.7", 5000), "::ffff:203.0.113.7"),
        (("testclient", 5000), "testclient"),
        (None, ""),
    ],
)
def test_a_client_is_its_address_and_of_ipv6_its_network(peer: tuple[str, int] | None, client: str) -> None:
    assert client_of({"type": "http", "client": peer}) == client


def test_the_limit_leaves_files_for_others(caplog: pytest.LogCaptureFixture) -> None:
    slots = StreamSlots(5000, 5000)
    slots.fit_to(100_000)
    assert slots.limit == 5000
    slots.fit_to(1024)
    assert slots.limit == 1024 - FILES_FOR_OTHERS
    assert "ulimit -n" in caplog.text


def test_the_process_may_open_as_many_files_as_the_system_lets_it() -> None:
    resource = pytest.importorskip("resource", reason="not on Windows")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert allow_open_files() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
