"""Jobs without an end over HTTP: created with `num_frames: null`, changed by PATCH, played live."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from core.service.domain.schema import ChangedJob, Job, JobStatus, Lane
from core.service.redis import queue
from core.service.video.playlist import SLIDING_CHUNKS
from tests.helpers.api_world import BASE_URL, PROMPT, World, submit
from tests.helpers.presets import change_preset


def body(**fields: Any) -> dict[str, Any]:
    return {"prompt": PROMPT, "num_frames": None, **fields}


def refused(answer: Any) -> tuple[int, str, str, str]:
    problem = answer.json()
    return answer.status_code, problem["code"], problem.get("field"), problem.get("fix")


def test_null_is_without_end_and_leaving_it_out_is_not(api: TestClient) -> None:
    endless = Job.model_validate(api.post("/jobs", json=body()).json())
    assert (endless.request.num_frames, endless.request.endless_limit) == (None, 1_000_000)
    assert (endless.progress.frames_total, endless.progress.chunks_total) == (None, None)
    usual = Job.model_validate(api.post("/jobs", json={"prompt": PROMPT}).json())
    assert (usual.request.num_frames, usual.request.endless_limit) == (48, None)


def test_a_dry_run_tells_no_total(api: TestClient, world: World) -> None:
    for kind in ("first", "next"):
        world.speeds.report("fake", kind, 0.5)
    plan = api.post("/jobs?dry_run=true", json=body()).json()
    assert (plan["num_chunks"], plan["last_chunk_frames"]) == (None, None)
    assert plan["estimate"] == {"seconds_per_chunk": 2.0, "seconds_total": None}


@pytest.mark.parametrize(
    ("fields", "field", "fix"),
    [
        ({"seconds": 4}, "seconds", "give one of them"),
        ({"refine": {"schedule": "lockstep"}}, "refine.schedule", "use the schedule streaming"),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    api: TestClient, world: World, fields: dict[str, Any], field: str, fix: str
) -> None:
    assert refused(api.post("/jobs", json=body(**fields)))[2:] == (field, fix)
    assert world.store.count_active() == 0


@pytest.mark.parametrize("reason", ["engine", "operator"])
def test_it_is_refused_where_engine_or_operator_do_not_allow_it(world: World, reason: str) -> None:
    settings = world.settings
    if reason == "engine":
        change_preset(settings.presets_dir / "fake", endless=False)
    else:
        settings = settings.model_copy(update={"max_endless_frames": 0})
    with TestClient(create_app(settings, world.ports()), base_url=BASE_URL) as api:
        answer = api.post("/jobs", json=body())
        assert refused(answer) == (422, "field_not_supported", "num_frames", "give a number, or leave it out")
        job_id = submit(api, num_frames=48)
        assert api.patch(f"/jobs/{job_id}", json={"num_frames": None}).status_code == 422
        assert api.patch(f"/jobs/{job_id}", json={"num_frames": 64}).status_code == (422 if reason == "engine" else 200)


def test_patch_gives_a_job_its_end_and_wakes_who_has_work_then(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=None)
    for _ in range(3):
        world.make_chunk(job_id)
    etag = api.get(f"/jobs/{job_id}").headers["etag"]
    assert refused(api.patch(f"/jobs/{job_id}", json={"num_frames": 40}))[1:] == (
        "invalid_field",
        "num_frames",
        "give at least 48, or cancel the job",
    )
    world.queue.messages.clear()
    answer = api.patch(f"/jobs/{job_id}", json={"num_frames": 48})
    changed = ChangedJob.model_validate(answer.json())
    assert (changed.status, changed.request.num_frames) == (JobStatus.FINALIZING, 48)
    assert (changed.progress.frames_total, changed.acts_from_frame) == (48, None)
    assert [message.task for message in world.queue.messages] == [queue.TASK_FINALIZE_JOB]
    assert api.get(f"/jobs/{job_id}", headers={"If-None-Match": etag}).status_code == 200
    assert api.patch(f"/jobs/{job_id}", json={"num_frames": 64}).status_code == 409


def test_patch_takes_a_job_its_end_and_a_held_lane_keeps_its_worker(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=64)
    world.make_chunk(job_id)
    assert world.store.claim(job_id, Lane.GENERATE, "worker-1", 30)
    world.queue.messages.clear()
    changed = ChangedJob.model_validate(api.patch(f"/jobs/{job_id}", json={"num_frames": None}).json())
    assert (changed.request.num_frames, changed.request.endless_limit) == (None, 1_000_000)
    assert not world.queue.messages


@pytest.mark.parametrize(("num_frames", "code"), [(8, "too_few_frames"), (100_000, "too_many_frames")])
def test_a_new_end_has_the_limits_of_a_request(api: TestClient, num_frames: int, code: str) -> None:
    job_id = submit(api, num_frames=None)
    assert refused(api.patch(f"/jobs/{job_id}", json={"num_frames": num_frames}))[1:3] == (code, "num_frames")


def test_lockstep_never_loses_its_end(api: TestClient) -> None:
    job_id = submit(api, num_frames=64, refine={"schedule": "lockstep"})
    answer = api.patch(f"/jobs/{job_id}", json={"num_frames": None})
    assert refused(answer)[2:] == ("refine.schedule", "use the schedule streaming")


def segments(text: str) -> list[int]:
    """Indices of the chunks that a playlist lists."""
    return [int(line.split("/")[-1].removesuffix(".mp4")) for line in text.splitlines() if not line.startswith("#")]


def test_its_playlist_slides_until_it_has_ended(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=None)
    url, before, offered = f"/jobs/{job_id}/playlist.m3u8", "", 0
    for count in range(1, SLIDING_CHUNKS + 4):
        world.make_chunk(job_id)
        text = api.get(url).text
        offered = max(0, count - SLIDING_CHUNKS)
        assert segments(text) == list(range(offered, count))
        assert f"#EXT-X-MEDIA-SEQUENCE:{offered}\n" in text
        assert not [tag for tag in ("PLAYLIST-TYPE", "ENDLIST", "X-START") if tag in text]
        assert '#EXT-X-MAP:URI="chunks/0.mp4"' in text
        kept = before.split("#EXTINF")[1 + (1 if offered else 0) :]
        assert all(f"#EXTINF{segment}" in text for segment in kept), "old lines do not change"
        before = text
    last = SLIDING_CHUNKS + 4
    api.patch(f"/jobs/{job_id}", json={"num_frames": 16 * last})
    assert len(segments(api.get(url).text)) == SLIDING_CHUNKS
    world.finish(job_id)
    whole = api.get(url).text
    assert segments(whole) == list(range(last))
    assert "#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:EVENT\n" in whole
    assert whole.endswith("#EXT-X-ENDLIST\n")


def test_a_chunk_that_will_come_is_not_ready_yet(api: TestClient) -> None:
    job_id = submit(api, num_frames=None)
    for path, words in (("chunks/5000.mp4", "chunk 5000 is not"), ("video.mp4", "0 frames are generated")):
        problem = api.get(f"/jobs/{job_id}/{path}").json()
        assert problem["code"].endswith("_not_ready")
        assert problem["detail"].startswith(words)


def test_its_prompts_may_be_scheduled_at_any_frame(api: TestClient) -> None:
    prompts = [{"start_frame": 0, "text": "a red circle"}, {"start_frame": 70_000, "text": "a blue square"}]
    assert api.post("/jobs", json={"prompts": prompts, "num_frames": None}).status_code == 202
