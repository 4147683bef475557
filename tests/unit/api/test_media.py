"""What players fetch: the growing playlist and the final video."""

import pytest
from fastapi.testclient import TestClient

from tests.helpers.api_world import World, submit


def test_before_the_first_chunk_there_is_no_playlist_but_a_time_to_come_back(api: TestClient) -> None:
    answer = api.get(f"/jobs/{submit(api)}/playlist.m3u8")
    assert (answer.status_code, answer.json()["code"]) == (404, "playlist_not_ready")
    assert int(answer.headers["retry-after"]) > 0


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


def test_the_playlist_names_absolute_urls_of_the_storage(api: TestClient, world: World) -> None:
    job_id = submit(api)
    world.make_chunk(job_id)
    lines = api.get(f"/jobs/{job_id}/playlist.m3u8").text.splitlines()
    assert f"https://storage.invalid/jobs/{job_id}/chunks/00000.mp4" in lines


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


def test_the_video_is_a_redirect_to_a_named_download_once_it_is_there(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=32)
    world.make_chunk(job_id)
    early = api.get(f"/jobs/{job_id}/video")
    assert (early.status_code, early.json()["code"]) == (404, "video_not_ready")
    assert "16 of 32 frames" in early.json()["detail"]
    assert "retry-after" in early.headers
    world.finish(job_id)
    answer = api.get(f"/jobs/{job_id}/video")
    assert answer.status_code == 307
    assert answer.headers["location"] == f"https://storage.invalid/jobs/{job_id}/video.mp4?download={job_id}.mp4"


def test_a_job_that_ended_without_a_chunk_will_never_have_anything_to_play(api: TestClient) -> None:
    job_id = submit(api)
    api.post(f"/jobs/{job_id}/cancel")
    for path in ("playlist.m3u8", "video"):
        answer = api.get(f"/jobs/{job_id}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (409, "job_state_conflict")
        assert "retry-after" not in answer.headers


def test_players_in_pages_of_other_origins_may_read_media_and_nothing_else(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=32)
    origin = {"Origin": "https://player.example"}
    early = api.get(f"/jobs/{job_id}/playlist.m3u8", headers=origin)
    world.finish(job_id)
    answers = [early, *(api.get(f"/jobs/{job_id}/{what}", headers=origin) for what in ("playlist.m3u8", "video"))]
    assert [answer.headers.get("access-control-allow-origin") for answer in answers] == ["*"] * 3
    assert "access-control-allow-origin" not in api.get("/jobs", headers=origin).headers


def test_both_variants_play_as_far_as_each_has_come(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=40, refine=True)
    refined = f"/jobs/{job_id}/playlist.m3u8?variant=refined"
    for _ in range(3):
        world.make_chunk(job_id)
    assert api.get(refined).json()["code"] == "playlist_not_ready"
    world.refine_chunk(job_id)
    text = api.get(refined).text
    assert (text.count("#EXTINF"), "refined/00000.mp4" in text, "#EXT-X-ENDLIST" in text) == (1, True, False)
    preview = api.get(f"/jobs/{job_id}/playlist.m3u8?variant=preview").text
    assert (preview.count("#EXTINF"), "refined" in preview, "#EXT-X-ENDLIST" in preview) == (3, False, True)


def test_both_variants_are_redirects_once_the_job_has_ended(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=16, refine=True)
    world.make_chunk(job_id)
    assert api.get(f"/jobs/{job_id}/video").json()["code"] == "video_not_ready"
    world.refine_chunk(job_id)
    world.finalize(job_id)
    assert api.get(f"/jobs/{job_id}/video").headers["location"].endswith(f"video.mp4?download={job_id}.mp4")
    location = api.get(f"/jobs/{job_id}/video?variant=refined").headers["location"]
    assert location.endswith(f"video_refined.mp4?download={job_id}_refined.mp4")


@pytest.mark.parametrize("what", ["playlist.m3u8", "video"])
def test_a_job_without_refinement_has_one_variant(api: TestClient, world: World, what: str) -> None:
    job_id = submit(api, num_frames=16)
    world.make_chunk(job_id)
    answer = api.get(f"/jobs/{job_id}/{what}?variant=refined")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_state_conflict")
    assert api.get(f"/jobs/{job_id}/{what}?variant=better").status_code == 422
