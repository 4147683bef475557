"""Media at links that never change: the growing playlist, chunks and the final video."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from core.service.domain.manifest import chunk_key, refined_key, refined_video_key, video_key
from core.service.testing.storage import FakeStorage
from tests.helpers.api_world import BASE_URL, World, submit
from tests.helpers.deadline import eventually

VIDEO = bytes(range(250)) * 12


@contextmanager
def choosing(world: World, **settings: object) -> Generator[TestClient]:
    with world.client(world.settings.model_copy(update=settings)) as api:
        yield api


@pytest.fixture
def proxy(world: World) -> Iterator[TestClient]:
    """An API that sends objects itself."""
    with choosing(world, media="proxy") as api:
        yield api


def state_of(api: TestClient) -> Any:
    """What all requests of an API share."""
    return cast(FastAPI, api.app).state


def asked_while(api: TestClient, path: str, act: Callable[[], object], **options: Any) -> Any:
    """The answer to a GET that waits for what `act` does."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(api.get, path, **options)
        eventually(lambda: state_of(api).playlist_waits.limit.in_use == 1, "the request to wait")
        act()
        return answer.result(timeout=30)


def stored_job(api: TestClient, world: World, num_frames: int = 40) -> str:
    """An ended job whose objects are there, each with bytes of its own."""
    job_id = submit(api, num_frames=num_frames)
    world.finish(job_id)
    for index in range(world.store.get(job_id).chunks.count):
        world.storage.put(chunk_key(job_id, index), bytes([index]) * 3000, "video/mp4")
    world.storage.put(video_key(job_id), VIDEO, "video/mp4")
    return job_id


# --- the playlist -----------------------------------------------------------------------------------------------------


def test_before_the_first_chunk_the_playlist_is_404_with_retry_after(world: World) -> None:
    with choosing(world, playlist_wait_seconds=0.2) as api:
        answer = api.get(f"/jobs/{submit(api)}/playlist.m3u8")
    assert (answer.status_code, answer.json()["code"]) == (404, "playlist_not_ready")
    assert int(answer.headers["retry-after"]) > 0


def test_a_playlist_is_held_back_until_there_is_a_first_chunk(api: TestClient, world: World) -> None:
    job_id = submit(api)
    answer = asked_while(api, f"/jobs/{job_id}/playlist.m3u8", lambda: world.make_chunk(job_id))
    assert (answer.status_code, answer.text.count("#EXTINF")) == (200, 1)


def test_a_browser_s_own_player_gets_a_live_playlist_from_the_third_chunk_on(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=160)
    world.make_chunk(job_id)
    path, native = f"/jobs/{job_id}/playlist.m3u8", {"Sec-Fetch-Dest": "video"}
    assert api.get(path, headers={"Sec-Fetch-Dest": "empty"}).text.count("#EXTINF") == 1
    answer = asked_while(api, path, lambda: [world.make_chunk(job_id), world.make_chunk(job_id)], headers=native)
    assert answer.text.count("#EXTINF") == 3


def test_a_browser_s_own_player_gets_a_short_video_when_it_is_complete(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=16)
    world.make_chunk(job_id)
    answer = api.get(f"/jobs/{job_id}/playlist.m3u8", headers={"Sec-Fetch-Dest": "video"})
    assert "#EXT-X-ENDLIST" in answer.text


def test_a_playlist_is_not_held_back_for_a_job_that_ends_without_a_chunk(api: TestClient) -> None:
    job_id = submit(api)
    answer = asked_while(api, f"/jobs/{job_id}/playlist.m3u8", lambda: api.post(f"/jobs/{job_id}/cancel"))
    assert (answer.status_code, answer.json()["code"]) == (409, "job_state_conflict")


def test_waiting_playlists_of_one_client_keep_no_other_from_waiting(world: World) -> None:
    with choosing(world, max_playlist_waits_per_address=1) as api, ThreadPoolExecutor(2) as pool:
        job_id = submit(api)
        path = f"/jobs/{job_id}/playlist.m3u8"
        waiting = [pool.submit(api.get, path)]
        eventually(lambda: state_of(api).playlist_waits.limit.in_use == 1, "the first to wait")
        assert api.get(path).json()["code"] == "playlist_not_ready"
        waiting.append(pool.submit(TestClient(api.app, base_url=BASE_URL, client=("198.51.100.7", 1)).get, path))
        eventually(lambda: state_of(api).playlist_waits.limit.in_use == 2, "the other client to wait")
        world.make_chunk(job_id)
        assert [answer.result(timeout=30).status_code for answer in waiting] == [200, 200]


def test_more_playlists_than_may_wait_are_answered_at_once(world: World) -> None:
    with choosing(world, max_playlist_waits=0) as api:
        assert api.get(f"/jobs/{submit(api)}/playlist.m3u8").status_code == 404


def test_the_playlist_grows_with_the_job_and_ends_with_it(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=40)
    world.make_chunk(job_id)
    live = api.get(f"/jobs/{job_id}/playlist.m3u8")
    assert live.headers["content-type"].startswith("application/vnd.apple.mpegurl")
    assert live.headers["cache-control"] == "no-cache"
    assert live.text.count("#EXTINF") == 1
    assert "#EXT-X-ENDLIST" not in live.text
    world.finish(job_id)
    whole = api.get(f"/jobs/{job_id}/playlist.m3u8")
    assert whole.text.count("#EXTINF") == 3
    assert whole.text.startswith(live.text)
    assert "#EXT-X-ENDLIST" in whole.text


def test_the_playlist_s_links_are_relative_and_lead_to_the_chunks(api: TestClient, world: World) -> None:
    job_id = submit(api)
    world.make_chunk(job_id)
    playlist = api.get(f"/jobs/{job_id}/playlist.m3u8")
    assert "chunks/0.mp4" in playlist.text.splitlines()
    assert '#EXT-X-MAP:URI="chunks/0.mp4"' in playlist.text
    chunk = api.get(f"/jobs/{job_id}/chunks").json()["chunks"][0]
    assert str(playlist.url.join("chunks/0.mp4")) == chunk["url"] == f"{BASE_URL}/jobs/{job_id}/chunks/0.mp4"


def test_an_unchanged_playlist_is_not_sent_again(api: TestClient, world: World) -> None:
    job_id = submit(api)
    world.make_chunk(job_id)
    etag = api.get(f"/jobs/{job_id}/playlist.m3u8").headers["etag"]
    headers = {"If-None-Match": etag}
    assert api.get(f"/jobs/{job_id}/playlist.m3u8", headers=headers).status_code == 304
    world.make_chunk(job_id)
    assert api.get(f"/jobs/{job_id}/playlist.m3u8", headers=headers).status_code == 200


def test_a_canceled_job_stays_playable_as_far_as_it_came(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=160)
    world.make_chunk(job_id)
    api.post(f"/jobs/{job_id}/cancel")
    world.finalize(job_id)
    text = api.get(f"/jobs/{job_id}/playlist.m3u8").text
    assert text.count("#EXTINF") == 1
    assert "#EXT-X-ENDLIST" in text
    assert api.get(f"/jobs/{job_id}/video").status_code == 307


def test_a_job_that_ended_without_a_chunk_will_never_have_anything_to_play(api: TestClient) -> None:
    job_id = submit(api)
    api.post(f"/jobs/{job_id}/cancel")
    for path in ("playlist.m3u8", "video", "video.mp4"):
        answer = api.get(f"/jobs/{job_id}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (409, "job_state_conflict")
        assert "retry-after" not in answer.headers


# --- the video, behind a redirect -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["video", "video.mp4"])
def test_the_video_is_a_redirect_to_a_named_download_once_it_is_there(api: TestClient, world: World, path: str) -> None:
    job_id = submit(api, num_frames=32)
    world.make_chunk(job_id)
    early = api.get(f"/jobs/{job_id}/{path}")
    assert (early.status_code, early.json()["code"]) == (404, "video_not_ready")
    assert "16 of 32 frames" in early.json()["detail"]
    assert "retry-after" in early.headers
    world.finish(job_id)
    answer = api.get(f"/jobs/{job_id}/{path}")
    assert answer.status_code == 307
    assert answer.headers["location"] == f"https://storage.invalid/jobs/{job_id}/video.mp4?download={job_id}.mp4"


def test_a_presigned_url_is_one_redirect_away_in_either_mode(api: TestClient, proxy: TestClient, world: World) -> None:
    job_id = stored_job(api, world)
    for asked in (api.get(f"/jobs/{job_id}/chunks/1.mp4"), proxy.get(f"/jobs/{job_id}/chunks/1.mp4?redirect=true")):
        assert asked.status_code == 307
        assert asked.headers["location"] == f"https://storage.invalid/{chunk_key(job_id, 1)}"
        assert asked.headers["cache-control"] == "no-cache"


class ThreadsOfSigning(FakeStorage):
    """Notes which threads sign URLs: credentials may have to be fetched for it."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = list[str]()

    def url(self, key: str, *, download_name: str | None = None) -> str:
        self.threads.append(current_thread().name)
        return super().url(key, download_name=download_name)


def test_urls_are_signed_off_the_event_loop_and_only_where_one_is_asked_for(world: World) -> None:
    storage = world.storage = ThreadsOfSigning()
    with world.client() as api:
        job_id = stored_job(api, world)
        for path in ("", "/chunks", "/playlist.m3u8", "/events"):
            assert api.get(f"/jobs/{job_id}{path}").status_code == 200
        assert storage.threads == []
        api.get(f"/jobs/{job_id}/video")
    assert storage.threads
    assert main_thread().name not in storage.threads
    assert all("worker" in name.lower() for name in storage.threads)


def test_chunks_are_listed_with_presigned_urls_where_they_are_asked_for(world: World) -> None:
    storage = world.storage = ThreadsOfSigning()
    with world.client() as api:
        job_id = submit(api, num_frames=40, refine=True)
        for _ in range(3):
            world.make_chunk(job_id)
        world.refine_chunk(job_id)
        plain = api.get(f"/jobs/{job_id}/chunks").json()["chunks"]
        asked = api.get(f"/jobs/{job_id}/chunks?after=0&include=presigned_urls").json()["chunks"]
        first = api.get(f"/jobs/{job_id}/chunks?include=presigned_urls").json()["chunks"][0]
        refused = api.get(f"/jobs/{job_id}/chunks?include=all")
    assert [{**chunk, "presigned_url": f"https://storage.invalid/{chunk_key(job_id, index)}"}
            for index, chunk in enumerate(plain)][1:] == asked  # fmt: skip
    assert first["presigned_refined_url"] == f"https://storage.invalid/{refined_key(job_id, 0)}"
    assert main_thread().name not in storage.threads
    assert (refused.status_code, refused.json()["field"]) == (422, "include")


# --- objects that the API sends itself --------------------------------------------------------------------------------


def test_a_chunk_comes_whole_with_its_length_and_may_be_kept(proxy: TestClient, world: World) -> None:
    job_id = stored_job(proxy, world)
    answer = proxy.get(f"/jobs/{job_id}/chunks/1.mp4")
    assert (answer.status_code, answer.content) == (200, b"\1" * 3000)
    told = {name: answer.headers[name] for name in ("content-type", "content-length", "accept-ranges")}
    assert told == {"content-type": "video/mp4", "content-length": "3000", "accept-ranges": "bytes"}
    assert "immutable" in answer.headers["cache-control"]


def test_a_last_chunk_that_may_be_completed_is_asked_for_anew(proxy: TestClient, world: World) -> None:
    job_id = stored_job(proxy, world, num_frames=40)
    assert proxy.get(f"/jobs/{job_id}/chunks/2.mp4").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-99", 0, 99),
        ("bytes=0-", 0, 2999),
        ("bytes=100-199", 100, 199),
        ("bytes=2990-", 2990, 2999),
        ("bytes=2990-5000", 2990, 2999),
        ("bytes=-5", 2995, 2999),
        ("bytes=-9000", 0, 2999),
    ],
)
def test_a_range_is_answered_206_with_exactly_its_bytes(
    proxy: TestClient, world: World, asked: str, first: int, last: int
) -> None:
    job_id = stored_job(proxy, world)
    answer = proxy.get(f"/jobs/{job_id}/video.mp4", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, VIDEO[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/3000"
    assert answer.headers["content-length"] == str(last - first + 1)


@pytest.mark.parametrize("asked", ["bytes=0-9,20-29", "bytes=9-0", "bytes=a-b", "items=0-9", "bytes=-0", "bytes="])
def test_several_ranges_and_what_is_no_range_get_the_whole(proxy: TestClient, world: World, asked: str) -> None:
    job_id = stored_job(proxy, world)
    answer = proxy.get(f"/jobs/{job_id}/video.mp4", headers={"Range": asked})
    assert (answer.status_code, len(answer.content)) == (200, 3000)
    assert "content-range" not in answer.headers


def test_a_range_beyond_the_end_is_416_with_the_length(proxy: TestClient, world: World) -> None:
    job_id = stored_job(proxy, world)
    answer = proxy.get(f"/jobs/{job_id}/video.mp4", headers={"Range": "bytes=3000-"})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */3000"


def test_a_range_of_an_older_version_gets_the_whole_new_one(proxy: TestClient, world: World) -> None:
    job_id = stored_job(proxy, world)
    url = f"/jobs/{job_id}/video.mp4"
    etag = proxy.get(url).headers["etag"]
    same = proxy.get(url, headers={"Range": "bytes=0-9", "If-Range": etag})
    other = proxy.get(url, headers={"Range": "bytes=0-9", "If-Range": '"older"'})
    assert (same.status_code, other.status_code) == (206, 200)


@pytest.mark.parametrize("path", ["video.mp4", "video", "chunks/0.mp4"])
def test_an_unchanged_video_is_not_sent_again(proxy: TestClient, world: World, path: str) -> None:
    job_id = stored_job(proxy, world)
    etag = proxy.get(f"/jobs/{job_id}/{path}").headers["etag"]
    world.storage.objects.clear()  # and the storage is not asked for it
    answer = proxy.get(f"/jobs/{job_id}/{path}", headers={"If-None-Match": etag})
    assert (answer.status_code, answer.headers["etag"]) == (304, etag)


@pytest.mark.parametrize("path", ["video.mp4", "video", "chunks/0.mp4"])
@pytest.mark.parametrize("media", ["proxy", "redirect"])
def test_head_has_the_length_in_either_mode(world: World, media: str, path: str) -> None:
    with choosing(world, media=media) as api:
        job_id = stored_job(api, world)
        answer = api.head(f"/jobs/{job_id}/{path}", headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "3000")
    assert (answer.headers["content-type"], answer.headers["accept-ranges"]) == ("video/mp4", "bytes")


def test_the_video_is_shown_at_one_link_and_saved_at_the_other(proxy: TestClient, world: World) -> None:
    job_id = stored_job(proxy, world)
    shown, saved = (proxy.get(f"/jobs/{job_id}/{path}") for path in ("video.mp4", "video"))
    assert shown.headers["content-disposition"] == f'inline; filename="{job_id}.mp4"'
    assert saved.headers["content-disposition"] == f'attachment; filename="{job_id}.mp4"'
    assert shown.content == saved.content == VIDEO


def test_a_chunk_that_is_not_ready_has_a_retry_after(proxy: TestClient, world: World) -> None:
    job_id = submit(proxy, num_frames=48)
    world.make_chunk(job_id)
    early, never = (proxy.get(f"/jobs/{job_id}/chunks/{index}.mp4") for index in (1, 3))
    assert (early.status_code, early.json()["code"], "retry-after" in early.headers) == (404, "chunk_not_ready", True)
    assert (never.status_code, never.json()["code"], "retry-after" in never.headers) == (404, "chunk_not_found", False)
    world.finish(job_id)
    assert proxy.get(f"/jobs/{job_id}/chunks/3.mp4").json()["code"] == "chunk_not_found"
    assert proxy.get(f"/jobs/{job_id}/chunks/x.mp4").status_code == 422
    assert proxy.get(f"/jobs/{job_id}/chunks/-1.mp4").status_code == 422


def test_a_storage_that_is_away_is_503_and_no_half_an_answer(proxy: TestClient, world: World) -> None:
    job_id = stored_job(proxy, world)
    world.storage.broken = True
    for path in ("video.mp4", "chunks/0.mp4"):
        answer = proxy.get(f"/jobs/{job_id}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (503, "storage_error")
        assert "retry-after" in answer.headers


def test_more_videos_than_may_be_sent_at_a_time_get_503_with_retry_after(world: World) -> None:
    with choosing(world, media="proxy", max_media_streams=1) as api:
        job_id = stored_job(api, world)
        with state_of(api).media_streams.enter("somebody else"):
            answer = api.get(f"/jobs/{job_id}/video.mp4")
            assert (answer.status_code, answer.json()["code"]) == (503, "media_busy")
            assert int(answer.headers["retry-after"]) > 0
            assert api.head(f"/jobs/{job_id}/chunks/0.mp4").status_code == 200
        assert api.get(f"/jobs/{job_id}/video.mp4").content == VIDEO
        assert api.get(f"/jobs/{job_id}/video.mp4", headers={"Range": "bytes=9000-"}).status_code == 416
        assert api.get(f"/jobs/{job_id}/video.mp4").content == VIDEO
    assert eventually(lambda: world.objects.open_now == 0, "every object to be closed")


def test_videos_sent_to_one_client_take_no_slot_of_others(world: World) -> None:
    with choosing(world, media="proxy", max_media_streams_per_address=1) as api:
        path = f"/jobs/{stored_job(api, world)}/video.mp4"
        with state_of(api).media_streams.enter("testclient"):
            answer = api.get(path)
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_media_streams_of_client")
            assert int(answer.headers["retry-after"]) > 0
            other = TestClient(api.app, base_url=BASE_URL, client=("198.51.100.7", 1))
            assert other.get(path).content == VIDEO
        assert api.get(path).content == VIDEO


# --- both variants, every origin --------------------------------------------------------------------------------------


def test_players_in_pages_of_other_origins_may_read_media_and_nothing_else(api: TestClient, world: World) -> None:
    job_id = stored_job(api, world)
    origin = {"Origin": "https://player.example"}
    paths = ("playlist.m3u8", "video", "video.mp4", "chunks/0.mp4", "chunks/9.mp4")
    answers = [api.get(f"/jobs/{job_id}/{what}", headers=origin) for what in paths]
    assert [answer.headers.get("access-control-allow-origin") for answer in answers] == ["*"] * len(paths)
    assert "access-control-allow-origin" not in api.get("/jobs", headers=origin).headers
    assert "access-control-allow-origin" not in api.get(f"/jobs/{job_id}/chunks", headers=origin).headers


def test_both_variants_play_as_far_as_each_has_come(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=40, refine=True)
    refined = f"/jobs/{job_id}/playlist.m3u8?variant=refined"
    for _ in range(3):
        world.make_chunk(job_id)
    world.refine_chunk(job_id)
    text = api.get(refined).text
    assert (text.count("#EXTINF"), "#EXT-X-ENDLIST" in text) == (1, False)
    assert "chunks/0.mp4?variant=refined" in text.splitlines()
    preview = api.get(f"/jobs/{job_id}/playlist.m3u8?variant=preview").text
    assert (preview.count("#EXTINF"), "refined" in preview, "#EXT-X-ENDLIST" in preview) == (3, False, True)


def test_a_refined_playlist_is_not_ready_where_only_the_preview_is(world: World) -> None:
    with choosing(world, playlist_wait_seconds=0.1) as api:
        job_id = submit(api, num_frames=40, refine=True)
        world.make_chunk(job_id)
        assert api.get(f"/jobs/{job_id}/playlist.m3u8?variant=refined").json()["code"] == "playlist_not_ready"


def test_both_variants_are_there_once_the_job_has_ended(proxy: TestClient, world: World) -> None:
    job_id = submit(proxy, num_frames=16, refine=True)
    world.make_chunk(job_id)
    assert proxy.get(f"/jobs/{job_id}/video.mp4").json()["code"] == "video_not_ready"
    world.refine_chunk(job_id)
    world.finalize(job_id)
    keys = {f: f(job_id) for f in (video_key, refined_video_key)} | {f: f(job_id, 0) for f in (chunk_key, refined_key)}
    for key in keys.values():
        world.storage.put(key, key.encode(), "video/mp4")
    for variant, of_video, of_chunk in (("preview", video_key, chunk_key), ("refined", refined_video_key, refined_key)):
        video = proxy.get(f"/jobs/{job_id}/video.mp4?variant={variant}")
        chunk = proxy.get(f"/jobs/{job_id}/chunks/0.mp4?variant={variant}")
        assert (video.content, chunk.content) == (keys[of_video].encode(), keys[of_chunk].encode())
    assert f'filename="{job_id}_refined.mp4"' in video.headers["content-disposition"]


@pytest.mark.parametrize("what", ["playlist.m3u8", "video", "video.mp4", "chunks/0.mp4"])
def test_a_job_without_refinement_has_one_variant(api: TestClient, world: World, what: str) -> None:
    job_id = submit(api, num_frames=16)
    world.make_chunk(job_id)
    answer = api.get(f"/jobs/{job_id}/{what}?variant=refined")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_state_conflict")
    assert api.get(f"/jobs/{job_id}/{what}?variant=better").status_code == 422
