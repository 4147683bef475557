"""Limits of an API key, through the API: what is refused, with which status, when to come back, and what is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from core.service.domain.api_keys import KeyLimits
from core.service.domain.schema import JobError
from core.service.domain.usage import KeyUsage
from core.service.settings import Settings
from tests.helpers.api_world import PROMPT, World, submit
from tests.helpers.customers import ADMIN_KEY, bearer, customer, with_keys
from tests.helpers.presets import write_fake_preset

MIDNIGHT_SECONDS = 86_400
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    write_fake_preset(tmp_path, "fake", refiner=True)
    return World(with_keys(Settings(presets_dir=tmp_path, default_model="fake")))


@pytest.fixture
def api(world: World) -> Iterator[TestClient]:
    with world.client() as client:
        yield client


@pytest.fixture
def with_key(world: World, api: TestClient) -> Callable[..., str]:
    """Makes the client send a new key with these limits; returns the key's id."""

    def use(**limits: Any) -> str:
        new = customer(world.keys, **limits)
        api.headers.update(bearer(new.text))
        return new.id

    return use


def ask(api: TestClient, **fields: Any) -> Response:
    return api.post("/jobs", json={"prompt": PROMPT, **fields})


def assert_reached(answer: Response, retry_seconds: int) -> None:
    assert (answer.status_code, answer.json()["code"]) == (429, "limit_reached"), answer.text
    assert answer.headers["Retry-After"] == str(retry_seconds)
    assert answer.json()["fix"]


def assert_exceeded(answer: Response, field: str) -> None:
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "limit_exceeded", field)


# Requests per minute


def test_every_answer_tells_what_is_left_of_the_minute(api: TestClient, with_key: Callable[..., str]) -> None:
    with_key(requests_per_minute=3)
    left = [api.get(path).headers["RateLimit"] for path in ("/jobs", "/jobs/none", "/models")]
    assert left == [f'"requests";r={r};t=60' for r in (2, 1, 0)]
    assert api.get("/jobs").headers["RateLimit-Policy"] == '"requests";q=3;w=60'


def test_beyond_the_minute_everything_is_refused_until_it_ends(
    world: World, api: TestClient, with_key: Callable[..., str]
) -> None:
    with_key(requests_per_minute=1)
    assert api.get("/jobs").status_code == 200
    world.clock.advance(40)
    for refused in (api.get("/jobs"), ask(api), api.get("/jobs/none/events")):
        assert_reached(refused, 20)
        assert refused.headers["RateLimit"] == '"requests";r=0;t=20'
    world.clock.advance(20)
    assert api.get("/jobs").status_code == 200


def test_a_key_without_limits_is_told_of_none(api: TestClient, with_key: Callable[..., str]) -> None:
    with_key()
    assert not [name for name in api.get("/jobs").headers if name.startswith("ratelimit")]


# Unfinished jobs


def test_a_key_has_so_many_jobs_at_a_time(world: World, api: TestClient, with_key: Callable[..., str]) -> None:
    owner = with_key(unfinished_jobs=1)
    job = submit(api)
    assert_reached(ask(api), 30)
    assert_reached(api.post("/jobs?dry_run=true", json={"prompt": PROMPT}), 30)
    assert_reached(api.put("/jobs/mine", json={"prompt": PROMPT}), 30)
    world.make_chunk(job)
    assert_reached(api.post(f"/jobs/{job}/branch", json={"from_chunk": 1}), 30)
    world.finish(job)
    retried = submit(api)
    assert_reached(api.post(f"/jobs/{job}/extend", json={"num_frames": 16}), 30)
    world.store.fail(retried, JobError(code="boom", message="it broke", retryable=True))
    api.post(f"/jobs/{job}/extend", json={"num_frames": 16})
    assert_reached(api.post(f"/jobs/{retried}/retry"), 30)
    assert world.store.usage.of(owner).unfinished_jobs == 1


def test_jobs_of_a_batch_are_counted_one_by_one(api: TestClient, with_key: Callable[..., str]) -> None:
    with_key(unfinished_jobs=2)
    results = api.post("/jobs/batch", json={"jobs": [{"prompt": PROMPT}] * 3}).json()["results"]
    assert [result["status"] for result in results] == [202, 202, 429]
    assert results[2]["error"]["code"] == "limit_reached"


def test_a_refused_request_may_be_sent_again_with_its_idempotency_key(
    api: TestClient, with_key: Callable[..., str]
) -> None:
    with_key(unfinished_jobs=1)
    first = submit(api)
    headers = {"Idempotency-Key": "one"}
    assert_reached(api.post("/jobs", json={"prompt": PROMPT}, headers=headers), 30)
    api.post(f"/jobs/{first}/cancel")
    assert api.post("/jobs", json={"prompt": PROMPT}, headers=headers).status_code == 202
    again = api.post("/jobs", json={"prompt": PROMPT}, headers=headers)
    assert again.status_code == 200, "a job that exists is no new one"


# Frames


def test_a_day_has_so_many_frames(world: World, api: TestClient, with_key: Callable[..., str]) -> None:
    owner = with_key(frames_per_day=100)
    world.clock.advance(MIDNIGHT_SECONDS - 600)
    job = submit(api, num_frames=64)
    assert_reached(ask(api), 600)
    assert_reached(api.post("/jobs?dry_run=true", json={"prompt": PROMPT}), 600)
    assert world.store.usage.of(owner) == KeyUsage(unfinished_jobs=1, frames_today=64)
    assert api.patch(f"/jobs/{job}", json={"num_frames": 80}).status_code == 200
    world.make_chunk(job, seconds=0)
    assert_reached(api.post(f"/jobs/{job}/branch", json={"from_chunk": 1}), 600)
    assert ask(api, num_frames=20).status_code == 202
    world.clock.advance(600)
    assert ask(api).status_code == 202


def test_a_job_that_no_day_has_room_for_is_refused_for_good(api: TestClient, with_key: Callable[..., str]) -> None:
    with_key(frames_per_day=100)
    assert_exceeded(ask(api, num_frames=101), "num_frames")
    job = submit(api, num_frames=16)
    assert_exceeded(api.patch(f"/jobs/{job}", json={"num_frames": 117}), "num_frames")


def test_a_video_without_end_asks_for_what_is_left(world: World, api: TestClient, with_key: Callable[..., str]) -> None:
    owner = with_key(frames_per_day=500)
    submit(api, num_frames=80)
    endless = submit(api, num_frames=None)
    assert world.store.get(endless).spec.endless_limit == 420
    assert_reached(ask(api, num_frames=None), MIDNIGHT_SECONDS)
    world.make_chunk(endless)
    api.post(f"/jobs/{endless}/cancel")
    world.finalize(endless)
    assert world.store.usage.of(owner).frames_today == 96


CONTROLLED = {"model": "along", "control": {"type": "canny", "video": "https://example.com/a.mp4"}}


@pytest.mark.parametrize("endless", [0, 32])
def test_a_video_as_long_as_its_input_has_the_limit_of_the_key(world: World, endless: int) -> None:
    write_fake_preset(world.settings.presets_dir, "along", control=["canny"], length_of_input=True)
    world.settings = world.settings.model_copy(update={"max_endless_frames": endless})
    headers = bearer(customer(world.keys, frames=480).text)
    with world.client() as api:
        answer = api.post("/jobs", json={"prompt": PROMPT, **CONTROLLED}, headers=headers)
    assert answer.status_code == 202, answer.text
    assert world.store.get(answer.json()["id"]).spec.endless_limit == 480


def test_a_video_as_long_as_its_input_asks_for_what_is_left_until_that_is_read(world: World) -> None:
    write_fake_preset(world.settings.presets_dir, "along", control=["canny"], length_of_input=True)
    new = customer(world.keys, frames_per_day=500)
    with world.client() as api:
        api.headers.update(bearer(new.text))
        submit(api, num_frames=80)
        job = submit(api, **CONTROLLED)
        assert world.store.usage.of(new.id).frames_today == 500
        assert_reached(ask(api), MIDNIGHT_SECONDS)
        world.prepare(job, 48)
        assert world.store.usage.of(new.id).frames_today == 128
        submit(api)


def test_a_video_that_loses_its_end_gets_what_is_left_too(
    world: World, api: TestClient, with_key: Callable[..., str]
) -> None:
    owner = with_key(frames_per_day=500)
    job = submit(api, num_frames=80)
    assert api.patch(f"/jobs/{job}", json={"num_frames": None}).status_code == 200
    assert world.store.get(job).spec.endless_limit == 500
    assert world.store.usage.of(owner).frames_today == 500


def test_longer_videos_than_the_key_may_have_are_refused(
    world: World, api: TestClient, with_key: Callable[..., str]
) -> None:
    with_key(frames=32)
    assert_exceeded(ask(api, num_frames=33), "num_frames")
    job = submit(api)
    assert world.store.get(job).spec.num_frames == 32, "the default is lowered"
    assert_exceeded(api.patch(f"/jobs/{job}", json={"num_frames": 33}), "num_frames")
    world.finish(job)
    assert_exceeded(api.post(f"/jobs/{job}/extend", json={"num_frames": 1}), "num_frames")
    assert_exceeded(api.post(f"/jobs/{job}/branch", json={"from_chunk": 1, "num_frames": 40}), "num_frames")
    assert world.store.get(submit(api, num_frames=None)).spec.endless_limit == 32


def test_a_job_that_is_longer_than_its_key_may_have_by_now_can_still_be_steered(
    world: World, api: TestClient, with_key: Callable[..., str]
) -> None:
    owner = with_key(frames=160, frames_per_day=1000)
    job = submit(api, num_frames=160)
    change_limits(world, owner, frames=32, frames_per_day=32)
    for change in ({"metadata": {"a": "b"}}, {"prompt": "a blue square"}, {"num_frames": 160}):
        assert api.patch(f"/jobs/{job}", json=change).status_code == 200, change
    assert_exceeded(api.patch(f"/jobs/{job}", json={"num_frames": 161}), "num_frames")
    assert api.patch(f"/jobs/{job}", json={"num_frames": 100}).status_code == 200, "it may get shorter"


def test_a_job_goes_on_to_the_length_that_it_had_whatever_its_key_may_have_by_now(
    world: World, api: TestClient, with_key: Callable[..., str]
) -> None:
    owner = with_key(frames=160, inference_steps=20)
    job = submit(api, num_frames=160, num_inference_steps=20)
    world.make_chunk(job)
    world.store.fail(job, JobError(code="boom", message="it broke", retryable=True))
    change_limits(world, owner, frames=32, inference_steps=5)
    assert api.post(f"/jobs/{job}/retry").status_code == 202


def test_no_frames_are_added_with_more_steps_than_the_key_may_have_by_now(
    world: World, api: TestClient, with_key: Callable[..., str]
) -> None:
    owner = with_key(inference_steps=20)
    ended, running = (submit(api, num_frames=32, num_inference_steps=20) for _ in range(2))
    world.finish(ended)
    change_limits(world, owner, inference_steps=19)
    assert_exceeded(api.post(f"/jobs/{ended}/extend", json={"num_frames": 16}), "num_frames")
    assert_exceeded(api.patch(f"/jobs/{running}", json={"num_frames": 33}), "num_frames")
    change_limits(world, owner, inference_steps=20)
    assert api.post(f"/jobs/{ended}/extend", json={"num_frames": 16}).status_code == 202


# Steps and bytes


def test_more_steps_than_the_key_may_have_are_refused(api: TestClient, with_key: Callable[..., str]) -> None:
    with_key(inference_steps=6)
    assert_exceeded(ask(api, num_inference_steps=7), "num_inference_steps")
    assert_exceeded(ask(api, refine={"steps": 7}), "refine.steps")
    assert ask(api, num_inference_steps=6).status_code == 202


def test_a_key_stores_so_many_bytes(world: World, api: TestClient, with_key: Callable[..., str]) -> None:
    with_key(stored_bytes=5000)
    upload = {"content_type": "video/mp4", "size_bytes": 2500}
    uploaded = api.post("/uploads", json=upload).json()["id"]
    assert_reached(api.post("/uploads", json={**upload, "size_bytes": 2501}), 60)
    job = submit(api)
    world.make_chunk(job)
    assert_reached(ask(api), 60)
    assert_reached(api.post("/uploads", json={**upload, "size_bytes": 1}), 60)
    api.delete(f"/uploads/{uploaded}")
    assert ask(api).status_code == 202
    api.delete(f"/jobs/{job}")
    assert api.post("/uploads", json=upload).status_code == 201


def test_videos_and_images_of_openai_clients_count_too(
    world: World, api: TestClient, with_key: Callable[..., str]
) -> None:
    owner = with_key(stored_bytes=40, frames_per_day=60)
    form = {"prompt": (None, PROMPT), "input_reference": ("a.png", PNG + bytes(50))}
    refused = api.post("/v1/videos", files=form)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert refused.json()["error"]["code"] == "limit_reached"
    assert world.uploads.count() == 0
    assert api.post("/v1/videos", json={"prompt": PROMPT}).status_code == 200
    assert world.store.usage.of(owner).frames_today == 48
    refused = api.post("/v1/videos", json={"prompt": PROMPT})
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, str(MIDNIGHT_SECONDS))


# While what is used is counted again


def test_a_limit_that_is_not_known_lets_nothing_in(world: World, api: TestClient, with_key: Callable[..., str]) -> None:
    owner = with_key(unfinished_jobs=1, frames_per_day=200, stored_bytes=10_000)
    ended = submit(api)
    world.finish(ended)
    world.store.usage.clear()
    upload = {"content_type": "video/mp4", "size_bytes": 2500}
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/jobs", {"prompt": PROMPT}),
        ("/jobs?dry_run=true", {"prompt": PROMPT}),
        (f"/jobs/{ended}/extend", {"num_frames": 16}),
        (f"/jobs/{ended}/branch", {"from_chunk": 1}),
        ("/uploads", upload),
    ]
    for path, body in asked:
        answer = api.post(path, json=body)
        assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "usage_unknown", "5")
    assert api.get("/key").json()["usage"]["complete"] is False
    change_limits(world, owner, requests_per_minute=100, frames=48)
    assert ask(api).status_code == 202


# What is told


def test_the_key_tells_what_it_uses(world: World, api: TestClient, with_key: Callable[..., str]) -> None:
    owner = with_key(frames_per_day=500)
    world.make_chunk(submit(api))
    usage = {"unfinished_jobs": 1, "frames_today": 48, "stored_bytes": 3000, "complete": True}
    assert api.get("/key").json()["usage"] == usage
    api.headers.update(bearer(ADMIN_KEY))
    assert api.get(f"/keys/{owner}").json()["usage"] == usage
    assert api.get("/key").json()["usage"]["frames_today"] == 0


def test_the_document_says_that_requests_may_be_limited(api: TestClient) -> None:
    document = api.get("/openapi.json").json()
    of_list, of_health = (document["paths"][path]["get"]["responses"] for path in ("/jobs", "/healthz"))
    assert {"RateLimit", "RateLimit-Policy"} <= of_list["200"]["headers"].keys() & of_list["429"]["headers"].keys()
    assert "429" not in of_health


# Whose limits


def test_an_admin_is_not_limited_and_its_changes_count_for_the_owner(
    world: World, api: TestClient, with_key: Callable[..., str]
) -> None:
    owner = with_key(frames_per_day=50)
    job = submit(api)
    api.headers.update(bearer(ADMIN_KEY))
    assert api.patch(f"/jobs/{job}", json={"num_frames": 160}).status_code == 200
    assert world.store.usage.of(owner).frames_today == 160
    assert ask(api).status_code == 202
    assert world.store.usage.of("admin").unfinished_jobs == 1


def test_keys_do_not_share_limits(api: TestClient, with_key: Callable[..., str]) -> None:
    for _ in range(2):
        with_key(unfinished_jobs=1, frames_per_day=48, requests_per_minute=2)
        assert ask(api).status_code == 202


def test_limits_that_are_changed_hold_for_the_next_request(
    world: World, api: TestClient, with_key: Callable[..., str]
) -> None:
    owner = with_key(unfinished_jobs=1)
    submit(api)
    assert_reached(ask(api), 30)
    change_limits(world, owner, unfinished_jobs=2)
    assert ask(api).status_code == 202


def change_limits(world: World, owner: str, **limits: int) -> None:
    """As an admin does; acts from now on."""
    world.keys.change(owner, lambda key: key.model_copy(update={"limits": KeyLimits.model_validate(limits)}))
    world.clock.advance(2)
