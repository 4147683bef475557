"""Priorities and shares, through the API: who may ask for which, and what a job keeps of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from core.service.domain.api_keys import KeyLimits, NewKey, Scope
from core.service.domain.manifest import manifest_key
from core.service.domain.priority import Priority
from core.service.settings import Settings
from tests.helpers.api_world import PROMPT, World, submit
from tests.helpers.customers import ADMIN_KEY, bearer, customer, with_keys
from tests.helpers.manifests import record_from_manifest
from tests.helpers.presets import write_fake_preset


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    write_fake_preset(tmp_path, "fake")
    return Settings(presets_dir=tmp_path, default_model="fake")


@pytest.fixture
def world(settings: Settings) -> World:
    return World(with_keys(settings))


@pytest.fixture
def api(world: World) -> Iterator[TestClient]:
    with world.client() as client:
        yield client


def use(world: World, api: TestClient, scope: Scope = Scope.JOBS, **limits: Any) -> NewKey:
    """Makes the client send a new key with these limits."""
    new = customer(world.keys, scope, **limits)
    api.headers.update(bearer(new.text))
    return new


def ask(api: TestClient, **fields: Any) -> Response:
    return api.post("/jobs", json={"prompt": PROMPT, **fields})


def assert_above(answer: Response, most: str, fix: str) -> None:
    problem = answer.json()
    told = (answer.status_code, problem["code"], problem["field"], problem["fix"])
    assert told == (422, "limit_exceeded", "priority", fix)
    assert f"the most is {most}" in problem["detail"]


def test_without_keys_everybody_may_have_any_priority(settings: Settings) -> None:
    world = World(settings)
    with world.client() as api:
        for priority in Priority:
            asked = ask(api, priority=priority)
            assert (asked.status_code, asked.json()["request"]["priority"]) == (202, priority)
        job_id = submit(api)
        assert api.get(f"/jobs/{job_id}").json()["request"]["priority"] == "normal"
        raised = api.patch(f"/jobs/{job_id}", json={"priority": "high"})
        assert (raised.status_code, raised.json()["request"]["priority"]) == (200, "high")
        assert world.store.get(job_id).share == 1


def test_a_key_without_limits_may_have_a_normal_priority(world: World, api: TestClient) -> None:
    use(world, api)
    assert [ask(api, priority=name).status_code for name in ("low", "normal")] == [202, 202]
    for path in ("/jobs", "/jobs?dry_run=true"):
        answer = api.post(path, json={"prompt": PROMPT, "priority": "high"})
        assert_above(answer, "normal", "give normal or low")
    results = api.post("/jobs/batch", json={"jobs": [{"prompt": PROMPT, "priority": "high"}]}).json()["results"]
    assert results[0]["error"]["field"] == "priority"


def test_the_limits_of_a_key_say_which_is_the_most(world: World, api: TestClient) -> None:
    use(world, api, max_priority=Priority.HIGH)
    assert ask(api, priority="high").json()["request"]["priority"] == "high"
    use(world, api, max_priority=Priority.LOW)
    assert_above(ask(api, priority="normal"), "low", "give low")


def test_what_names_no_priority_has_one_that_the_key_may_have(world: World, api: TestClient) -> None:
    use(world, api, max_priority=Priority.LOW)
    assert ask(api).json()["request"]["priority"] == "low"
    image = api.post("/v1/videos", json={"prompt": PROMPT})
    assert world.store.get(image.json()["id"]).spec.priority is Priority.LOW
    use(world, api, max_priority=Priority.HIGH)
    assert ask(api).json()["request"]["priority"] == "normal"


@pytest.mark.parametrize("scope", [Scope.ADMIN, None])
def test_an_admin_and_the_operator_may_have_a_high_priority(world: World, api: TestClient, scope: Scope | None) -> None:
    if scope is None:
        api.headers.update(bearer(ADMIN_KEY))
    else:
        use(world, api, scope)
    assert ask(api, priority="high").status_code == 202


def test_the_same_cap_holds_for_a_change_which_may_always_lower_it(world: World, api: TestClient) -> None:
    key = use(world, api, max_priority=Priority.HIGH)
    job_id = submit(api, priority="high")
    api.patch(f"/keys/{key.id}", json={"limits": {"max_priority": "low"}}, headers=bearer(ADMIN_KEY))
    world.clock.advance(5)
    same, lower = (api.patch(f"/jobs/{job_id}", json={"priority": name}) for name in ("high", "normal"))
    assert [answer.json()["request"]["priority"] for answer in (same, lower)] == ["high", "normal"]
    assert_above(api.patch(f"/jobs/{job_id}", json={"priority": "high"}), "low", "give low")
    stored = world.store.get(job_id)
    assert stored.spec.priority is Priority.NORMAL
    assert record_from_manifest(world.storage.objects[manifest_key(job_id)]) == stored


def test_an_admin_may_raise_a_customer_s_job(world: World, api: TestClient) -> None:
    use(world, api)
    job_id = submit(api)
    raised = api.patch(f"/jobs/{job_id}", json={"priority": "high"}, headers=bearer(ADMIN_KEY))
    assert (raised.status_code, raised.json()["request"]["priority"]) == (200, "high")


def test_a_branch_has_the_priority_of_its_source_or_another_that_the_key_may_have(
    world: World, api: TestClient
) -> None:
    key = use(world, api, max_priority=Priority.HIGH)
    job_id = submit(api, num_frames=48, priority="high")
    world.make_chunk(job_id)

    def branch(**fields: Any) -> Response:
        return api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 1, **fields})

    branched = [branch(**fields).json()["request"]["priority"] for fields in ({}, {"priority": "low"})]
    assert branched == ["high", "low"]
    api.patch(f"/keys/{key.id}", json={"limits": {"max_priority": None}}, headers=bearer(ADMIN_KEY))
    world.clock.advance(5)
    assert branch().json()["request"]["priority"] == "normal"
    assert_above(branch(priority="high"), "normal", "give normal or low")


def test_a_job_that_goes_on_keeps_its_priority(world: World, api: TestClient) -> None:
    use(world, api, max_priority=Priority.HIGH)
    job_id = submit(api, num_frames=16, priority="high")
    world.finish(job_id)
    extended = api.post(f"/jobs/{job_id}/extend", json={"num_frames": 16}).json()
    assert (extended["generation"], extended["request"]["priority"]) == (1, "high")
    api.post(f"/jobs/{job_id}/cancel")
    world.finalize(job_id)
    retried = api.post(f"/jobs/{job_id}/retry").json()
    assert (retried["generation"], retried["request"]["priority"]) == (2, "high")


def test_a_job_keeps_the_share_that_its_key_had(world: World, api: TestClient) -> None:
    key = use(world, api, share=2.5)
    job_id = submit(api, num_frames=48)
    world.make_chunk(job_id)
    branch_id = api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 1}).json()["id"]
    api.patch(f"/keys/{key.id}", json={"limits": {"share": 0.5}}, headers=bearer(ADMIN_KEY))
    world.clock.advance(5)
    later_id = submit(api)
    assert [world.store.get(each).share for each in (job_id, branch_id, later_id)] == [2.5, 2.5, 0.5]
    assert record_from_manifest(world.storage.objects[manifest_key(job_id)]).share == 2.5


def test_the_holder_of_a_key_reads_both(world: World, api: TestClient) -> None:
    use(world, api, max_priority=Priority.HIGH, share=2)
    limits = api.get("/key").json()["limits"]
    assert (limits["max_priority"], limits["share"]) == ("high", 2)
    use(world, api)
    limits = api.get("/key").json()["limits"]
    assert (limits["max_priority"], limits["share"]) == (None, None)


@pytest.mark.parametrize(
    ("limits", "field", "fix"),
    [
        ({"share": 0.009}, "limits.share", "give at least 0.01"),
        ({"share": 101}, "limits.share", "give at most 100"),
        ({"share": "2"}, "limits.share", "give a number without quotes"),
        ({"max_priority": "urgent"}, "limits.max_priority", "use 'high', 'normal' or 'low'"),
    ],
)
def test_a_wrong_limit_is_refused_with_its_field(api: TestClient, limits: object, field: str, fix: str) -> None:
    answer = api.post("/keys", json={"name": "x", "limits": limits}, headers=bearer(ADMIN_KEY))
    assert (answer.status_code, answer.json()["field"], answer.json()["fix"]) == (422, field, fix)


def test_a_key_whose_cap_was_lowered_adds_no_frames_at_a_higher_priority(world: World, api: TestClient) -> None:
    key = use(world, api, max_priority=Priority.HIGH)
    ended, running = (submit(api, num_frames=16, priority="high") for _ in range(2))
    world.finish(ended)
    lowered = KeyLimits(max_priority=Priority.LOW)
    world.keys.change(key.id, lambda stored: stored.model_copy(update={"limits": lowered}))
    world.clock.advance(2)
    fix = "PATCH its priority before it ends, or branch the job"
    assert_above(api.post(f"/jobs/{ended}/extend", json={"num_frames": 16}), "low", fix)
    assert_above(api.patch(f"/jobs/{running}", json={"num_frames": 32}), "low", fix)
    assert api.patch(f"/jobs/{running}", json={"num_frames": 32, "priority": "low"}).status_code == 200
