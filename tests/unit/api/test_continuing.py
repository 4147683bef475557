"""POST /jobs/{id}/extend and /retry: answers, what is woken and served, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.service.domain.manifest import manifest_key
from core.service.domain.schema import Job, JobError, JobStatus, Lane
from core.service.redis import queue
from tests.helpers.api_world import World, submit
from tests.helpers.manifests import record_from_manifest
from tests.helpers.presets import change_preset

BLUE = "a blue square"
ERROR = JobError(code="boom", message="it broke", retryable=True)


def ended(api: TestClient, world: World, **fields: Any) -> str:
    job_id = submit(api, **{"num_frames": 40, **fields})
    world.finish(job_id)
    world.queue.messages.clear()
    return job_id


def playlist(api: TestClient, job_id: str) -> str:
    return api.get(f"/jobs/{job_id}/playlist.m3u8").text


def test_a_job_that_has_succeeded_is_extended_under_its_id(api: TestClient, world: World) -> None:
    job_id = ended(api, world)
    answer = api.post(f"/jobs/{job_id}/extend", json={"num_frames": 56, "prompt": f"{BLUE}\u200b"})
    job = Job.model_validate(answer.json())
    assert (answer.status_code, job.id, job.status, job.generation) == (202, job_id, "queued", 1)
    assert (job.progress.frames_done, job.progress.frames_total) == (40, 96)
    assert answer.json()["request"]["prompt_changes"] == [{"start_frame": 40, "text": BLUE}]
    assert [warning.code for warning in job.warnings] == ["characters_removed"]
    assert (job.finished_at, job.expires_at) == (None, None)
    assert record_from_manifest(world.storage.objects[manifest_key(job_id)]) == world.store.get(job_id)
    assert [message.task for message in world.queue.messages] == [queue.TASK_GENERATE_CHUNK]
    assert api.get(f"/jobs/{job_id}").json()["generation"] == 1


def test_what_exists_stays_served_and_no_line_of_the_playlist_changes(api: TestClient, world: World) -> None:
    job_id = ended(api, world)
    video = api.get(f"/jobs/{job_id}/video.mp4", follow_redirects=False).headers
    assert "#EXT-X-ENDLIST" in playlist(api, job_id)
    api.post(f"/jobs/{job_id}/extend", json={"num_frames": 56})
    live = playlist(api, job_id)
    assert "#EXT-X-ENDLIST" not in live
    assert "chunks/1.mp4" in live
    assert "chunks/2.mp4" not in live, "it is about to get more frames"
    assert api.get(f"/jobs/{job_id}/chunks/2.mp4").status_code in {200, 307}
    assert api.get(f"/jobs/{job_id}/video.mp4", follow_redirects=False).headers["location"] == video["location"]
    assert api.get(f"/jobs/{job_id}/thumbnail.jpg").status_code in {200, 307}


def test_the_event_stream_goes_on_after_an_end(api: TestClient, world: World) -> None:
    job_id = ended(api, world, num_frames=16)
    api.post(f"/jobs/{job_id}/extend", json={"num_frames": 16})
    world.finish(job_id)
    text = api.get(f"/jobs/{job_id}/events").text
    assert text.count("event: job.succeeded\n") == text.count("event: job.queued\n") == 2
    assert '"generation":1' in text
    first_end = next(part for part in text.split("\n\n") if "event: job.succeeded" in part)
    later = {"Last-Event-ID": first_end.split("id: ")[1].split("\n")[0]}
    rest = api.get(f"/jobs/{job_id}/events", headers=later).text
    assert rest.count("event: job.succeeded\n") == 1


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELED])
def test_a_job_is_retried(api: TestClient, world: World, status: JobStatus) -> None:
    job_id = submit(api, num_frames=48)
    world.make_chunk(job_id)
    if status is JobStatus.FAILED:
        world.store.fail(job_id, ERROR)
    else:
        api.post(f"/jobs/{job_id}/cancel")
        world.finalize(job_id)
    world.queue.messages.clear()
    answer = api.post(f"/jobs/{job_id}/retry")
    job = Job.model_validate(answer.json())
    assert (answer.status_code, job.status, job.error, job.progress.frames_done) == (202, "queued", None, 16)
    assert [message.task for message in world.queue.messages] == [queue.TASK_GENERATE_CHUNK]
    world.finish(job_id)
    assert api.get(f"/jobs/{job_id}").json()["status"] == "succeeded"


def test_a_job_with_all_chunks_is_finalized_when_it_is_retried(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=16)
    world.make_chunk(job_id)
    world.store.fail(job_id, ERROR)
    assert api.post(f"/jobs/{job_id}/retry").json()["status"] == "finalizing"
    assert world.store.ready(Lane.FINALIZE, "", 1) == [job_id]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "invalid_field", "num_frames"),
        ({"num_frames": 0}, "invalid_field", "num_frames"),
        ({"num_frames": -16}, "invalid_field", "num_frames"),
        ({"num_frames": "16"}, "invalid_field", "num_frames"),
        ({"num_frames": None}, "invalid_field", "num_frames"),
        ({"num_frames": 10**9}, "too_many_frames", "num_frames"),
        ({"num_frames": 16, "prompt": ""}, "invalid_field", "prompt"),
        ({"num_frames": 16, "prompt": "a\u0000"}, "invalid_field", "prompt"),
        ({"num_frames": 16, "prompt": "a " * 2000}, "prompt_too_long", "prompt"),
        ({"num_frames": 16, "seed": 1}, "unknown_field", "seed"),
    ],
)
def test_a_wrong_extension_is_refused_with_its_field_and_a_fix(
    api: TestClient, world: World, body: dict[str, Any], code: str, field: str
) -> None:
    job_id = ended(api, world)
    before = world.store.get(job_id)
    answer = api.post(f"/jobs/{job_id}/extend", json=body)
    assert (answer.status_code, answer.json()["code"], answer.json().get("field")) == (422, code, field)
    assert answer.json()["fix"]
    assert world.store.get(job_id) == before


def test_the_limit_counts_the_frames_that_exist(api: TestClient, world: World) -> None:
    job_id = ended(api, world)
    most = world.settings.max_frames
    refused = api.post(f"/jobs/{job_id}/extend", json={"num_frames": most - 39}).json()
    assert (refused["code"], refused["fix"]) == ("too_many_frames", f"give at most {most - 40}")
    assert api.post(f"/jobs/{job_id}/extend", json={"num_frames": most - 40}).status_code == 202


def test_a_job_that_was_canceled_before_its_first_chunk_gets_no_video_below_the_minimum(api: TestClient) -> None:
    job_id = submit(api)
    assert api.post(f"/jobs/{job_id}/cancel").json()["status"] == "canceled"
    refused = api.post(f"/jobs/{job_id}/extend", json={"num_frames": 1})
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (
        422,
        "too_few_frames",
        "num_frames",
    )
    assert refused.json()["fix"] == "give at least 16"
    assert api.post(f"/jobs/{job_id}/extend", json={"num_frames": 16}).status_code == 202


def test_conflicts_say_what_to_do(api: TestClient, world: World) -> None:
    running = submit(api, num_frames=40)
    failed = submit(api, num_frames=40)
    world.store.fail(failed, ERROR)
    done = ended(api, world)
    conflicts = {(running, "extend"): "cancel", (failed, "extend"): "retry", (running, "retry"): "wait"}
    for (job_id, verb), fix in {**conflicts, (done, "retry"): "extend"}.items():
        answer = api.post(f"/jobs/{job_id}/{verb}", json={"num_frames": 16} if verb == "extend" else None)
        assert (answer.status_code, answer.json()["code"]) == (409, "job_state_conflict"), (verb, answer.text)
        assert fix in answer.json()["fix"]
    assert api.post("/jobs/job_none/retry").status_code == 404
    assert api.post("/jobs/job_none/extend", json={"num_frames": 16}).status_code == 404


def test_a_full_queue_takes_no_job_back(world: World) -> None:
    api = world.client(world.settings.model_copy(update={"max_queued_jobs": 1}))
    done = ended(api, world)
    submit(api)
    answer = api.post(f"/jobs/{done}/extend", json={"num_frames": 16})
    assert (answer.status_code, answer.json()["code"]) == (503, "service_full")


def test_a_model_whose_frames_depend_on_the_length_says_so(world: World) -> None:
    change_preset(world.settings.presets_dir / "fake", endless=False)
    api = world.client()
    answer = api.post(f"/jobs/{ended(api, world)}/extend", json={"num_frames": 16})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (
        422,
        "field_not_supported",
        "num_frames",
    )
    change_preset(world.settings.presets_dir / "fake", endless=True, prompt_changes=False)
    api = world.client()
    done = ended(api, world)
    refused = api.post(f"/jobs/{done}/extend", json={"num_frames": 16, "prompt": BLUE}).json()
    assert (refused["code"], refused["field"]) == ("field_not_supported", "prompt")
    assert api.post(f"/jobs/{done}/extend", json={"num_frames": 16}).status_code == 202
