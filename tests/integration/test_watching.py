"""A job watched while it grows: its chunks, its playlist, its events; and what is there when it has ended."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest

from client.sse import ServerEvent, parse_events
from core.service.domain.schema import JobStatus, Progress
from tests.helpers.deadline import eventually
from tests.helpers.service import Service, fetch
from tests.helpers.video import frames_of, probe


def events_of(service: Service, job_id: str, after: str | None = None) -> Iterator[ServerEvent]:
    """The job's events from the stream, until the API ends it."""
    headers = {} if after is None else {"Last-Event-ID": after}
    with service.http.stream("GET", f"/jobs/{job_id}/events", headers=headers) as response:
        assert response.status_code == 200
        yield from parse_events(response.iter_lines())


def logged(service: Service, job_id: str, after: str | None = None) -> list[ServerEvent]:
    """The same without progress, which is not logged."""
    return [event for event in events_of(service, job_id, after) if event.type != "job.progress"]


def test_first_chunk_is_fetched_and_decoded_while_the_job_still_runs(service: Service) -> None:
    job = service.submit(model="slow", num_frames=64)
    chunk = service.wait_for_chunks(job.id, 1)[0]
    data = fetch(chunk.url)
    assert hashlib.sha256(data).hexdigest() == chunk.sha256
    assert len(data) == chunk.size_bytes
    assert probe(data).num_frames == 16
    assert service.job(job.id).status is JobStatus.RUNNING
    service.wait_for_success(job.id)


def test_live_playlist_plays_to_the_last_frame_while_it_grows(service: Service) -> None:
    job = service.submit(model="slow", num_frames=50)
    service.wait_for_chunks(job.id, 1)
    playlist = service.http.get(f"/jobs/{job.id}/playlist.m3u8")
    assert playlist.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert "#EXT-X-ENDLIST" not in playlist.text
    played = probe(job.links.playlist)
    assert played.num_frames == 50
    assert played.times == tuple(round(index / 8, 6) for index in range(50))
    service.wait_for_success(job.id)


def test_playlist_of_an_ended_job_is_closed_and_plays_whole(service: Service) -> None:
    job = service.submit(num_frames=33)
    service.wait_for_success(job.id)
    assert "#EXT-X-ENDLIST" in service.http.get(f"/jobs/{job.id}/playlist.m3u8").text
    assert probe(job.links.playlist).num_frames == 33


@pytest.mark.parametrize("num_frames", [16, 17, 48, 100])
def test_final_video_has_exactly_the_frames_asked_for(service: Service, num_frames: int) -> None:
    job = service.wait_for_success(service.submit(num_frames=num_frames, fps=12).id)
    video = probe(service.video(job.id))
    assert [chunk.num_frames for chunk in job.chunks] == [16] * (num_frames // 16) + [num_frames % 16] * (
        num_frames % 16 > 0
    )
    assert video.num_frames == num_frames
    assert (video.codec, video.width, video.height) == ("h264", 64, 64)
    assert video.times == tuple(round(index / 12, 6) for index in range(num_frames))


def test_final_video_shows_the_very_frames_of_the_chunks(service: Service) -> None:
    job = service.wait_for_success(service.submit(num_frames=40).id)
    chunks = np.concatenate([frames_of(fetch(chunk.url)) for chunk in job.chunks])
    np.testing.assert_array_equal(frames_of(service.video(job.id)), chunks)


def test_video_link_downloads_by_redirect_and_starts_fast(service: Service) -> None:
    job = service.wait_for_success(service.submit(num_frames=16).id)
    assert service.http.get(f"/jobs/{job.id}/video").status_code == 307
    data = service.video(job.id)
    assert data.index(b"moov") < data.index(b"mdat")


def test_seconds_become_frames_at_the_playback_rate(service: Service) -> None:
    job = service.wait_for_success(service.submit(seconds=2.5, fps=10).id)
    assert job.request.num_frames == 25
    assert probe(service.video(job.id)).num_frames == 25


def test_events_are_in_order_with_a_url_for_every_chunk(service: Service) -> None:
    job = service.submit(model="slow", num_frames=32)
    heard = list(events_of(service, job.id))
    told = [event.type for event in heard if event.type != "job.progress"]
    assert told == ["job.queued", "job.started", "chunk.completed", "chunk.completed", "job.succeeded"]
    assert any(event.type == "job.progress" for event in heard)
    ids = [tuple(map(int, event.id.split("-"))) for event in logged(service, job.id)]
    assert ids == sorted(ids)


def test_events_resume_after_the_last_one_seen(service: Service) -> None:
    job = service.wait_for_success(service.submit(num_frames=48).id)
    whole = logged(service, job.id)
    assert logged(service, job.id, after=whole[2].id) == whole[3:]


def test_events_that_came_while_the_client_was_away_are_not_lost(service: Service) -> None:
    job = service.submit(model="slow", num_frames=32)
    stream = events_of(service, job.id)
    seen = [next(event for event in stream if event.type == "job.started")]
    stream.close()  # type: ignore[attr-defined]  # a generator; its connection ends here
    service.wait_for_success(job.id)
    rest = [event.type for event in logged(service, job.id, after=seen[-1].id)]
    assert rest == ["chunk.completed", "chunk.completed", "job.succeeded"]


def test_unchanged_job_answers_304_until_it_changes(service: Service) -> None:
    job = service.submit(model="slow", num_frames=32)
    first = service.http.get(f"/jobs/{job.id}")
    eventually(
        lambda: (
            service.http.get(f"/jobs/{job.id}", headers={"If-None-Match": first.headers["etag"]}).status_code == 200
        ),
        "the job to change",
    )
    service.wait_for_success(job.id)
    ended = service.http.get(f"/jobs/{job.id}")
    again = service.http.get(f"/jobs/{job.id}", headers={"If-None-Match": ended.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_chunks_after_an_index_are_only_the_newer_ones(service: Service) -> None:
    job = service.wait_for_success(service.submit(num_frames=64).id)
    chunks = service.http.get(f"/jobs/{job.id}/chunks", params={"after": 1}).json()["chunks"]
    assert [chunk["index"] for chunk in chunks] == [2, 3]


def test_progress_counts_up_to_the_whole_job(service: Service) -> None:
    job = service.submit(model="slow", num_frames=40)
    service.wait_for_chunks(job.id, 1)

    def stepping() -> Progress | None:
        progress = service.job(job.id).progress
        return progress if progress.step > 0 else None

    progress = eventually(stepping, "a denoising step")
    assert 0 < progress.step < progress.steps
    ended = service.wait_for_success(job.id).progress
    assert (ended.frames_done, ended.frames_total, ended.chunks_done, ended.chunks_total) == (40, 40, 3, 3)
    assert ended.seconds_playable == 5.0


def test_a_chunk_s_timings_add_up_to_the_time_between_commits(service: Service) -> None:
    job = service.wait_for_success(service.submit(model="slow", num_frames=64).id)
    spans = [
        (after.created_at - before.created_at).total_seconds()
        for before, after in zip(job.chunks, job.chunks[1:], strict=False)
    ]
    sums = [sum(chunk.timings.values()) for chunk in job.chunks[1:]]
    assert sums == pytest.approx(spans, abs=0.1)
