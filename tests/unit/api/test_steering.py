"""PATCH /jobs/{id}: a new prompt and new metadata while the job runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.service.domain.manifest import manifest_key
from core.service.domain.schema import ChangedJob, Lane
from tests.helpers.api_world import PROMPT, World, submit
from tests.helpers.manifests import record_from_manifest
from tests.helpers.presets import change_preset

BLUE = "a blue square"


def test_a_running_job_gets_a_new_prompt_from_its_next_chunk_on(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=64)
    world.make_chunk(job_id)
    assert world.store.claim(job_id, Lane.GENERATE, "worker-1", 30)
    answer = api.patch(f"/jobs/{job_id}", json={"prompt": f"{BLUE}\u200b"})
    changed = ChangedJob.model_validate(answer.json())
    assert (answer.status_code, changed.acts_from_frame, changed.status) == (200, 32, "running")
    assert "chunks" not in answer.json()
    assert answer.json()["request"]["prompt_changes"] == [{"start_frame": 32, "text": BLUE}]
    assert [warning.code for warning in changed.warnings] == ["characters_removed"]
    stored = world.store.get(job_id)
    assert record_from_manifest(world.storage.objects[manifest_key(job_id)]) == stored
    assert stored.warnings == ()
    told = [event for event in world.store.memory.events[job_id] if event.type == "job.prompt_changed"]
    assert [(event.data["from_frame"], event.data["prompt"]) for event in told] == [(32, BLUE)]


def test_the_change_is_in_the_event_stream(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=32)
    api.patch(f"/jobs/{job_id}", json={"prompt": BLUE})
    world.finish(job_id)
    text = api.get(f"/jobs/{job_id}/events").text
    assert "event: job.prompt_changed\n" in text
    assert '"from_frame":0,"prompt":"a blue square"' in text


def test_the_job_s_etag_follows_its_prompts(api: TestClient) -> None:
    job_id = submit(api, num_frames=32)
    etag = api.get(f"/jobs/{job_id}").headers["etag"]
    api.patch(f"/jobs/{job_id}", json={"prompt": BLUE})
    assert api.get(f"/jobs/{job_id}", headers={"If-None-Match": etag}).status_code == 200


def test_a_priority_alone_is_changed_of_a_queued_and_of_a_running_job(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=48)
    for priority in ("low", "high"):
        etag = api.get(f"/jobs/{job_id}").headers["etag"]
        answer = api.patch(f"/jobs/{job_id}", json={"priority": priority}).json()
        assert (answer["request"]["priority"], answer["acts_from_frame"]) == (priority, None)
        changed = api.get(f"/jobs/{job_id}", headers={"If-None-Match": etag})
        assert changed.json()["request"]["priority"] == priority
        assert record_from_manifest(world.storage.objects[manifest_key(job_id)]) == world.store.get(job_id)
        world.make_chunk(job_id)
    told = {event.type for event in world.store.memory.events[job_id]}
    assert told == {"job.queued", "job.started", "chunk.completed"}


def test_metadata_alone_is_replaced(api: TestClient) -> None:
    job_id = submit(api, num_frames=32, metadata={"a": "b"})
    answer = api.patch(f"/jobs/{job_id}", json={"metadata": {"c": "d"}}).json()
    assert (answer["request"]["metadata"], answer["acts_from_frame"]) == ({"c": "d"}, None)


def test_a_webhook_for_it_is_sent_only_if_it_was_asked_for(api: TestClient, world: World) -> None:
    hook: dict[str, Any] = {"webhook_url": "http://8.8.8.8/hook"}
    plain = submit(api, **hook)
    told = submit(api, **hook, webhook_events=["job.prompt_changed"])
    for job_id in (plain, told):
        assert api.patch(f"/jobs/{job_id}", json={"prompt": BLUE}).status_code == 200
    assert [delivery.job_id for delivery in world.store.memory.deliveries.values()] == [told]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "invalid_field", None),
        ({"from_frame": 16}, "invalid_field", "from_frame"),
        ({"prompt": ""}, "invalid_field", "prompt"),
        ({"prompt": "\u200b"}, "invalid_field", "prompt"),
        ({"prompt": "a " * 2000}, "prompt_too_long", "prompt"),
        ({"prompt": "a\u0000"}, "invalid_field", "prompt"),
        ({"prompt": BLUE, "from_frame": -1}, "invalid_field", "from_frame"),
        ({"prompt": BLUE, "from_frame": 32}, "invalid_field", "from_frame"),
        ({"prompt": BLUE, "from_frame": "16"}, "invalid_field", "from_frame"),
        ({"metadata": {"a": "b\u0000"}}, "invalid_field", "metadata.a"),
        ({"seed": 7}, "unknown_field", "seed"),
        ({"priority": "urgent"}, "invalid_field", "priority"),
        ({"priority": None}, "invalid_field", None),
    ],
)
def test_a_wrong_change_is_refused_with_its_field_and_a_fix(
    api: TestClient, world: World, body: dict[str, Any], code: str, field: str | None
) -> None:
    job_id = submit(api, num_frames=32)
    before = world.store.get(job_id)
    answer = api.patch(f"/jobs/{job_id}", json=body)
    assert (answer.status_code, answer.json()["code"], answer.json().get("field")) == (422, code, field)
    assert answer.json()["fix"]
    assert world.store.get(job_id) == before


def test_an_ended_job_and_an_unknown_one_are_not_changed(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=32)
    world.finish(job_id)
    answer = api.patch(f"/jobs/{job_id}", json={"prompt": BLUE})
    assert (answer.status_code, answer.json()["code"]) == (409, "job_state_conflict")
    assert "branch" in answer.json()["fix"]
    assert api.patch("/jobs/job_none", json={"prompt": BLUE}).status_code == 404


def test_a_model_whose_prompt_cannot_change_says_so(world: World) -> None:
    change_preset(world.settings.presets_dir / "fake", prompt_changes=False)
    api = world.client()
    answer = api.patch(f"/jobs/{submit(api)}", json={"prompt": BLUE})
    assert (answer.status_code, answer.json()["code"]) == (422, "field_not_supported")
    assert "fake" in answer.json()["detail"]
    schedule = [{"start_frame": 0, "text": PROMPT}]
    refused = api.post("/jobs", json={"prompts": schedule}).json()
    assert (refused["code"], refused["field"]) == ("field_not_supported", "prompts")


@pytest.mark.parametrize(
    ("frames", "wrong"),
    [((0, 32, 16), 2), ((0, 16, 16), 2), ((16, 32), 0), ((0, 64), 1), ((0, 16, 10_000), 2)],
    ids=["out of order", "twice", "nothing at 0", "past the end", "far past the end"],
)
def test_a_schedule_that_makes_no_sense_is_refused_with_its_entry_and_a_fix(
    api: TestClient, world: World, frames: tuple[int, ...], wrong: int
) -> None:
    schedule = [{"start_frame": frame, "text": BLUE} for frame in frames]
    answer = api.post("/jobs", json={"prompts": schedule, "num_frames": 64})
    told = answer.json()
    assert (answer.status_code, told["code"], told["field"]) == (422, "invalid_field", f"prompts[{wrong}].start_frame")
    assert told["fix"]
    assert world.store.count_active() == 0


def test_a_schedule_is_shown_with_the_job(api: TestClient) -> None:
    schedule = [{"start_frame": 0, "text": PROMPT}, {"start_frame": 20, "text": BLUE}]
    answer = api.post("/jobs", json={"prompts": schedule, "num_frames": 48})
    assert answer.status_code == 202
    request = answer.json()["request"]
    assert (request["prompt"], request["prompt_changes"]) == (PROMPT, [{"start_frame": 20, "text": BLUE}])


def test_the_examples_of_the_documentation_work(api: TestClient) -> None:
    page = (Path(__file__).parents[3] / "docs" / "http-api.md").read_text()
    section = page.partition("### Prompts over time\n")[2].partition("\n## ")[0]
    (schedule,) = re.findall(r"```json\n(.*?)```", section, flags=re.DOTALL)
    (change,) = re.findall(r"-X PATCH .*? -d '(.*?)'", section, flags=re.DOTALL)
    created = api.post("/jobs", json=json.loads(schedule))
    assert created.status_code == 202
    changed = api.patch(f"/jobs/{created.json()['id']}", json=json.loads(change))
    assert (changed.status_code, changed.json()["acts_from_frame"]) == (200, 0)
