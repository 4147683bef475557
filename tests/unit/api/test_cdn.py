"""LONGTAKE_MEDIA=https://...: links to media lead to a CDN, which fetches from the same paths of the API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from core.service.domain.manifest import chunk_key
from tests.helpers.api_world import BASE_URL, World, submit

CDN = "https://cdn.example/longtake"


@pytest.fixture
def api(world: World) -> Iterator[TestClient]:
    with world.client(world.settings.model_copy(update={"media": CDN})) as client:
        yield client


def test_links_to_media_lead_to_the_cdn_and_all_others_to_the_api(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=16)
    world.make_chunk(job_id)
    job = api.get(f"/jobs/{job_id}?include=chunks").json()
    at_cdn = {name for name, link in job["links"].items() if link.startswith(f"{CDN}/jobs/{job_id}/")}
    assert at_cdn == {"video", "thumbnail"}
    assert all(link.startswith(f"{BASE_URL}/jobs/") for name, link in job["links"].items() if name not in at_cdn)
    (chunk,) = api.get(f"/jobs/{job_id}/chunks").json()["chunks"]
    assert chunk["url"] == f"{CDN}/jobs/{job_id}/chunks/0.mp4"


def test_events_and_the_playlist_name_the_chunks_at_the_cdn(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=16, refine=True)
    world.make_chunk(job_id)
    world.refine_chunk(job_id)
    world.finish(job_id)
    assert f'"url":"{CDN}/jobs/{job_id}/chunks/0.mp4"' in api.get(f"/jobs/{job_id}/events").text.replace(": ", ":")
    for variant, query in (("preview", ""), ("refined", "?variant=refined")):
        text = api.get(f"/jobs/{job_id}/playlist.m3u8", params={"variant": variant}).text
        links = [line for line in text.splitlines() if not line.startswith("#")]
        assert links == [f"{CDN}/jobs/{job_id}/chunks/0.mp4{query}"]
        assert f'#EXT-X-MAP:URI="{links[0]}"' in text


def test_the_cdn_is_sent_the_bytes_and_told_how_long_to_keep_them(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=16)
    world.make_chunk(job_id)
    world.storage.put(chunk_key(job_id, 0), b"bytes of the chunk", "video/mp4")
    answer = api.get(f"/jobs/{job_id}/chunks/0.mp4", headers={"Host": "cdn.example", "Range": "bytes=0-4"})
    assert (answer.status_code, answer.content) == (206, b"bytes")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert api.get(f"/jobs/{job_id}/playlist.m3u8").headers["cache-control"] == "no-cache"
