"""POST /jobs/{id}/branch: the new job's spec, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.service.domain.schema import Job
from core.service.redis import queue
from tests.helpers.api_world import PROMPT, World, submit
from tests.helpers.presets import change_preset

BLUE = "a blue square"
GREEN = "a green circle"
HOOK = "http://8.8.8.8/hook"


def source(api: TestClient, world: World, count: int = 3, **fields: Any) -> str:
    """A job of 72 frames with so many chunks."""
    job_id = submit(api, **{"num_frames": 72, "seed": 5, "metadata": {"a": "b"}, **fields})
    for _ in range(count):
        world.make_chunk(job_id)
    world.queue.messages.clear()
    return job_id


def test_a_branch_is_a_new_job_that_is_as_its_source(api: TestClient, world: World) -> None:
    job_id = source(api, world)
    answer = api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 2})
    job = Job.model_validate(answer.json())
    assert (answer.status_code, job.status, answer.headers["location"]) == (202, "queued", job.links.self)
    assert job.id != job_id
    assert answer.json()["branched_from"] == {"job_id": job_id, "from_chunk": 2}
    assert job.request == world.store.get(job_id).spec
    assert [message.task for message in world.queue.messages] == [queue.TASK_PREPARE_MEDIA]
    assert job.progress.preparing


def test_what_is_named_is_the_branch_s_own(api: TestClient, world: World) -> None:
    prompts = [{"start_frame": at, "text": text} for at, text in ((0, PROMPT), (16, GREEN), (48, PROMPT))]
    job_id = source(api, world, prompt=None, prompts=prompts)
    named = {"prompt": f"{BLUE}\u200b", "seed": 8, "num_frames": 100, "metadata": {"c": "d"}, "webhook_url": HOOK}
    answer = api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 2, **named}).json()
    asked = answer["request"]
    assert asked["prompt_changes"] == [{"start_frame": 16, "text": GREEN}, {"start_frame": 32, "text": BLUE}]
    assert (asked["seed"], asked["seed_changes"]) == (5, [{"start_chunk": 2, "seed": 8}])
    assert (asked["num_frames"], asked["metadata"], asked["webhook_url"]) == (100, {"c": "d"}, HOOK)
    assert [warning["code"] for warning in answer["warnings"]] == ["characters_removed"]


def test_a_prompt_that_acts_there_already_changes_only_what_comes_later(api: TestClient, world: World) -> None:
    prompts = [{"start_frame": 0, "text": PROMPT}, {"start_frame": 48, "text": BLUE}]
    job_id = source(api, world, prompt=None, prompts=prompts)
    asked = api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 2, "prompt": PROMPT}).json()["request"]
    assert asked["prompt_changes"] == []


def test_null_written_out_is_no_end_no_webhook_and_no_metadata(api: TestClient, world: World) -> None:
    job_id = source(api, world, webhook_url=HOOK, webhook_events=["chunk.completed"])
    asked = api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 2, "num_frames": None}).json()["request"]
    assert (asked["num_frames"], asked["endless_limit"]) == (None, world.settings.max_endless_frames)
    assert (asked["webhook_url"], asked["webhook_events"]) == (HOOK, ["chunk.completed"])
    quiet = api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 2, "webhook_url": None, "metadata": None})
    asked = quiet.json()["request"]
    assert (asked["webhook_url"], asked["metadata"], asked["num_frames"]) == (None, {}, 72)
    assert "chunk.completed" not in asked["webhook_events"]
    body = {"from_chunk": 2, "webhook_url": None, "webhook_events": ["job.failed"]}
    assert api.post(f"/jobs/{job_id}/branch", json=body).json()["field"] == "webhook_events"


@pytest.mark.parametrize("kind", ["asked", "inherited"])
def test_a_branch_without_end_is_refused_where_the_operator_allows_none(world: World, kind: str) -> None:
    job_id = source(world.client(), world, num_frames=None if kind == "inherited" else 72)
    body = {"from_chunk": 2} | ({"num_frames": None} if kind == "asked" else {})
    less = world.client(world.settings.model_copy(update={"max_endless_frames": 64}))
    assert less.post(f"/jobs/{job_id}/branch", json=body).json()["request"]["endless_limit"] == 64
    none = world.client(world.settings.model_copy(update={"max_endless_frames": 0}))
    answer = none.post(f"/jobs/{job_id}/branch", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "field_not_supported")
    assert "give a number" in answer.json()["fix"]


def test_a_branch_of_what_is_refined_in_lockstep_keeps_its_end(api: TestClient, world: World) -> None:
    job_id = source(api, world, refine={"schedule": "lockstep"})
    answer = api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 2, "num_frames": None})
    assert (answer.status_code, answer.json()["field"]) == (422, "refine.schedule")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "invalid_field", "from_chunk"),
        ({"from_chunk": 0}, "invalid_field", "from_chunk"),
        ({"from_chunk": 10**9}, "invalid_field", "from_chunk"),
        ({"from_chunk": "2"}, "invalid_field", "from_chunk"),
        ({"from_chunk": 2, "num_frames": 32}, "invalid_field", "num_frames"),
        ({"from_chunk": 2, "num_frames": 10**9}, "too_many_frames", "num_frames"),
        ({"from_chunk": 2, "seed": -1}, "invalid_field", "seed"),
        ({"from_chunk": 2, "prompt": " "}, "invalid_field", "prompt"),
        ({"from_chunk": 2, "metadata": {"a": "b\u0000"}}, "invalid_field", "metadata.a"),
        ({"from_chunk": 2, "webhook_url": "ftp://8.8.8.8/"}, "webhook_url_refused", "webhook_url"),
        ({"from_chunk": 2, "webhook_events": ["job.failed"]}, "invalid_field", "webhook_events"),
        ({"from_chunk": 2, "fps": 8}, "unknown_field", "fps"),
    ],
)
def test_a_wrong_branch_is_refused_with_its_field_and_a_fix(
    api: TestClient, world: World, body: dict[str, Any], code: str, field: str
) -> None:
    job_id = source(api, world)
    answer = api.post(f"/jobs/{job_id}/branch", json=body)
    assert (answer.status_code, answer.json()["code"], answer.json().get("field")) == (422, code, field)
    assert answer.json()["fix"]
    assert len(world.store.memory.records) == 1


def test_a_chunk_that_does_not_exist_cannot_be_branched_from(api: TestClient, world: World) -> None:
    job_id = source(api, world)
    answer = api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 4})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (
        409,
        "job_state_conflict",
        "from_chunk",
    )
    world.finish(job_id)
    assert api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 4}).status_code == 202
    short = api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 5})
    assert (short.status_code, short.json()["fix"]) == (422, "give at most 4"), "the last chunk has 8 frames"
    assert api.post("/jobs/job_none/branch", json={"from_chunk": 1}).status_code == 404


def test_what_the_model_cannot_do_is_refused_by_name(world: World) -> None:
    change_preset(world.settings.presets_dir / "fake", endless=False, reseeds=False, prompt_changes=False)
    api = world.client()
    job_id = source(api, world)
    for field, value in (("seed", 8), ("num_frames", 100), ("prompt", BLUE)):
        refused = api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 2, field: value}).json()
        assert (refused["code"], refused["field"]) == ("field_not_supported", field)
        assert "fake" in refused["detail"]
    assert api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 2}).status_code == 202


def test_a_whole_input_video_is_prepared_again_for_the_branch(world: World) -> None:
    api = world.client()
    job_id = source(api, world)
    record = world.store.get(job_id)
    world.store.memory.records[job_id] = record.model_copy(update={"prepare_again": True})
    branch = api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 2}).json()["id"]
    assert world.store.get(branch).prepare_again
