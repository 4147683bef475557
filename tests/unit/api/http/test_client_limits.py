"""Limits of what a process serves at a time, in total and per client; answers beyond them say what to do instead."""

from contextlib import suppress
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient

from api.events.sse import event_stream_limit
from api.http.client_limits import EnforcedLimit, client_of, raise_open_file_limit, reserved_open_files
from core.service.domain.errors import TooManyStreams, TooManyStreamsOfClient
from core.service.settings import Settings
from tests.helpers.api_world import World, submit


def test_a_slot_is_released_however_the_stream_ends() -> None:
    limit = event_stream_limit(1, 1)
    with suppress(ZeroDivisionError), limit.enter("a"):
        assert limit.in_use == 1
        raise ZeroDivisionError
    with limit.enter("a"):
        pass
    assert limit.in_use == 0


def test_one_client_cannot_take_all_event_streams() -> None:
    limit = event_stream_limit(3, 2)
    with limit.enter("a"), limit.enter("a"):
        with pytest.raises(TooManyStreamsOfClient):
            limit.check("a")
        with limit.enter("b"), pytest.raises(TooManyStreams):
            limit.check("c")


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
        limit: EnforcedLimit = cast(Any, api.app).state.streams.limit
        with limit.enter("testclient"):
            answer = api.get(f"/jobs/{job_id}/events")
            assert (answer.status_code, answer.json()["code"]) == (status, code)
            assert int(answer.headers["Retry-After"]) > 0
            assert "poll" in answer.json()["fix"]
            assert api.get(f"/jobs/{job_id}").status_code == 200
        assert api.get(f"/jobs/{job_id}/events").status_code == 200
        assert limit.in_use == 0


def test_a_mapped_address_is_the_same_client() -> None:
    assert client_of({"type": "http", "client": ("::ffff:203.0.113.7", 1)}) == "203.0.113.7"
    assert client_of({"type": "http", "client": None}) == ""


def test_the_limit_leaves_files_for_all_videos_and_playlists(caplog: pytest.LogCaptureFixture) -> None:
    others = reserved_open_files(Settings(max_media_streams=256, max_playlist_waits=200))
    assert others >= 2 * 256 + 200 + 256
    limit = event_stream_limit(5000, 5000)
    limit.reduce_to(100_000 - others)
    assert limit.total == 5000
    limit.reduce_to(1024 - others)
    assert limit.total == 1024 - others
    assert "ulimit -n" in caplog.text


def test_the_process_may_open_as_many_files_as_the_system_lets_it() -> None:
    resource = pytest.importorskip("resource", reason="not on Windows")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert raise_open_file_limit() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
