"""A key sees the jobs and uploads that were made with it, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.access.caller import NOBODY, Caller
from core.service.domain.api_keys import Scope
from core.service.domain.uploads import upload_key
from core.service.domain.webhook_secret import generate_secret
from tests.helpers.api_world import ENDLESS, PROMPT, World, submit
from tests.helpers.callers import Callers, told

CLIP = {"content_type": "video/mp4", "size_bytes": 3}
JOB = {"prompt": PROMPT}
SECRET = generate_secret()


def owner_of(caller: TestClient, world: World) -> str:
    """Id of the caller's key."""
    owner = world.store.get(submit(caller)).owner
    assert owner is not None
    return owner


def listed(caller: TestClient, query: str = "") -> list[str]:
    answer = caller.get(f"/jobs{query}")
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()["jobs"]]


def uploaded(caller: TestClient, world: World) -> str:
    answer = caller.post("/uploads", json=CLIP)
    assert answer.status_code == 201, answer.text
    world.storage.put(upload_key(answer.json()["id"]), b"mp4", "video/mp4")
    return str(answer.json()["id"])


def test_a_job_of_another_key_is_not_found_as_one_that_does_not_exist(callers: Callers) -> None:
    job_id = submit(callers.one)
    status, problem = told(callers.other.get(f"/jobs/{job_id}"))
    assert (status, problem["code"]) == (404, "job_not_found")
    assert problem["detail"] == f"there is no job {job_id}"
    assert told(callers.other.get("/jobs/job_nowhere")) == (
        404,
        {**problem, "detail": "there is no job job_nowhere"},
    )
    own = callers.one.get(f"/jobs/{job_id}")
    assert (own.status_code, own.json()["owner"]) == (200, callers.one.get("/key").json()["id"])
    assert callers.admin.get(f"/jobs/{job_id}").json() == own.json()


def test_an_owner_that_is_no_key_s_id_is_refused_with_what_is(callers: Callers) -> None:
    status, problem = told(callers.admin.get("/jobs?owner=Example"))
    assert (status, problem["field"]) == (422, "owner")
    assert problem["detail"] == "owner is not the id of an API key"
    assert "GET /keys" in problem["fix"]


def test_a_list_has_the_jobs_of_the_key(callers: Callers, world: World) -> None:
    first = submit(callers.one)
    world.clock.advance(1)
    second = submit(callers.other)
    world.clock.advance(1)
    third = submit(callers.one)
    assert listed(callers.one) == [third, first]
    assert listed(callers.one, "?status=queued&limit=1") == [third]
    assert listed(callers.other) == [second]
    assert listed(callers.customer()) == []
    assert listed(callers.admin) == [third, second, first]


def test_a_list_of_videos_has_the_jobs_of_the_key(callers: Callers, world: World) -> None:
    made = list[str]()
    for _ in range(3):
        made.insert(0, submit(callers.one))
        submit(callers.other)
        world.clock.advance(1)
    first = callers.one.get("/v1/videos?limit=2").json()
    second = callers.one.get(f"/v1/videos?limit=2&after={first['last_id']}").json()
    assert [video["id"] for video in (*first["data"], *second["data"])] == made
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert len(callers.admin.get("/v1/videos").json()["data"]) == 6


def test_no_list_is_anybodys_who_has_no_key() -> None:
    for caller in (NOBODY, Caller(token="x")):
        with pytest.raises(AssertionError):
            _ = caller.listed_owner


def test_the_operator_may_list_the_jobs_of_one_key_page_by_page(callers: Callers, world: World) -> None:
    owner = owner_of(callers.one, world)
    submit(callers.other)
    submit(callers.one)
    answer = callers.admin.get(f"/jobs?owner={owner}&limit=1")
    assert f"owner={owner}" in answer.headers["link"]
    following = answer.headers["link"].partition("<http://testserver")[2].partition(">")[0]
    assert len({answer.json()["jobs"][0]["id"], *listed(callers.admin, following.removeprefix("/jobs"))}) == 2
    assert listed(callers.admin, "?owner=admin") == []


def test_no_key_lists_the_jobs_of_another(callers: Callers, world: World) -> None:
    owner, mine = owner_of(callers.one, world), owner_of(callers.other, world)
    status, problem = told(callers.other.get(f"/jobs?owner={owner}"))
    assert (status, problem["code"], problem["field"]) == (403, "scope_missing", "owner")
    assert listed(callers.other, f"?owner={mine}") == listed(callers.other)


@pytest.mark.parametrize("owner", ["", "key_a", "admin:queued", "key_" + "A" * 16, "key_aaaaaaaaaaaaaaaa%0A"])
def test_what_is_no_id_of_a_key_is_refused_as_owner(callers: Callers, owner: str) -> None:
    status, problem = told(callers.admin.get(f"/jobs?owner={owner}"))
    assert (status, problem["field"]) == (422, "owner")


def test_an_id_that_another_key_has_chosen_is_taken_whatever_is_asked(callers: Callers) -> None:
    assert callers.one.put("/jobs/trailer-7", json=JOB).status_code == 201
    same, different = (
        callers.other.put("/jobs/trailer-7", json=JOB),
        callers.other.put("/jobs/trailer-7", json={"prompt": 1}),
    )
    assert (same.status_code, same.json()["code"]) == (409, "job_exists")
    assert different.status_code == 422  # as for an id that is free
    assert told(callers.one.put("/jobs/trailer-7", json={**JOB, "seed": 1})) == told(same)
    assert callers.one.put("/jobs/trailer-7", json=JOB).status_code == 200


def test_an_idempotency_key_is_of_one_api_key(callers: Callers) -> None:
    headers = {"Idempotency-Key": "the same"}
    made = [
        caller.post("/jobs", json=JOB, headers=headers).json()["id"]
        for caller in (callers.one, callers.other, callers.admin, callers.one, callers.other)
    ]
    assert made[:2] == made[3:]
    assert len(set(made)) == 3
    seeded = callers.other.post("/jobs", json={**JOB, "seed": 1}, headers=headers)
    assert (seeded.status_code, seeded.json()["code"]) == (422, "idempotency_key_reused")


def test_the_jobs_of_a_batch_are_the_keys(callers: Callers) -> None:
    answer = callers.one.post("/jobs/batch", json={"jobs": [JOB, JOB]})
    ids = {result["job"]["id"] for result in answer.json()["results"]}
    assert set(listed(callers.one)) == ids
    assert listed(callers.other) == []


def test_uploads_are_found_with_their_key_only(callers: Callers, world: World) -> None:
    upload_id = uploaded(callers.one, world)
    for method in ("GET", "DELETE"):
        status, problem = told(callers.other.request(method, f"/uploads/{upload_id}"))
        assert (status, problem["code"]) == (404, "upload_unknown")
        unknown = upload_id[:-1] + ("a" if upload_id[-1] != "a" else "b")
        expected = {**problem, "detail": problem["detail"].replace(upload_id, unknown)}
        assert told(callers.other.request(method, f"/uploads/{unknown}")) == (404, expected)
    assert callers.admin.get(f"/uploads/{upload_id}").status_code == 200
    assert callers.one.get(f"/uploads/{upload_id}").json()["received"] is True
    assert callers.one.delete(f"/uploads/{upload_id}").status_code == 204


def test_no_job_is_made_from_the_upload_of_another_key(callers: Callers, world: World) -> None:
    upload_id = uploaded(callers.one, world)
    body = {**JOB, "video": upload_id}
    status, problem = told(callers.other.post("/jobs", json=body))
    assert (status, problem["code"], problem["field"]) == (422, "upload_not_found", "video")
    unknown = {**JOB, "video": "upl_" + "a" * 20}
    assert callers.other.post("/jobs", json=unknown).json()["code"] == problem["code"]
    assert callers.one.post("/jobs", json=body).status_code == 202


def test_a_branch_belongs_to_the_key_that_made_it(callers: Callers, world: World) -> None:
    source = submit(callers.one, num_frames=32)
    world.finish(source)
    body = {"from_chunk": 1, "prompt": "a blue circle"}
    assert callers.other.post(f"/jobs/{source}/branch", json=body).status_code == 404
    of_admin = callers.admin.post(f"/jobs/{source}/branch", json=body).json()["id"]
    branch = callers.one.post(f"/jobs/{source}/branch", json=body).json()["id"]
    assert (world.store.get(of_admin).owner, world.store.get(branch).owner) == ("admin", world.store.get(source).owner)
    assert set(listed(callers.one)) == {source, branch}


def test_a_job_that_the_operator_extends_stays_its_owner_s(callers: Callers, world: World) -> None:
    job_id = submit(callers.one, num_frames=16)
    world.finish(job_id)
    assert callers.admin.post(f"/jobs/{job_id}/extend", json={"num_frames": 16}).status_code == 202
    assert callers.one.get(f"/jobs/{job_id}").json()["generation"] == 1


def test_jobs_and_uploads_from_before_there_were_keys_are_the_operators(
    api: TestClient, callers: Callers, world: World
) -> None:
    job_id, upload_id = submit(api), uploaded(api, world)
    for path in (f"/jobs/{job_id}", f"/uploads/{upload_id}"):
        assert callers.one.get(path).status_code == 404
        assert callers.admin.get(path).status_code == 200
    assert (listed(callers.one), listed(callers.admin)) == ([], [job_id])


def test_the_tag_of_a_job_tells_another_key_nothing(callers: Callers) -> None:
    path = f"/jobs/{submit(callers.one)}"
    known = {"If-None-Match": callers.one.get(path).headers["etag"]}
    assert callers.one.get(path, headers=known).status_code == 304
    assert callers.other.get(path, headers=known).status_code == 404
    assert callers.admin.get(path, headers=known).status_code == 200


def test_a_key_that_only_reads_reads_its_own(callers: Callers) -> None:
    reader = callers.customer(Scope.READ)
    job_id = submit(callers.one)
    assert (listed(reader), reader.get(f"/jobs/{job_id}").status_code) == ([], 404)


def test_no_answer_shows_a_secret_of_the_job(callers: Callers, world: World) -> None:
    hook: dict[str, Any] = {"webhook_url": "https://example.com/hook", "webhook_events": ["chunk.completed"]}
    created = callers.one.post("/jobs", json={**JOB, **hook, "num_frames": 16, "webhook_secret": SECRET})
    job_id = created.json()["id"]
    world.finish(job_id)
    record = world.store.get(job_id)
    assert record.webhook_secret == SECRET
    document = callers.nobody.get("/openapi.json").json()
    reads = [path.replace("{job_id}", job_id) for path, methods in document["paths"].items() if "get" in methods]
    texts = [created.text, *(callers.admin.get(path).text for path in reads if "{" not in path and path != ENDLESS)]
    texts.append(callers.one.patch(f"/jobs/{job_id}", json={"metadata": {}}).text)
    texts.append(callers.one.post(f"/jobs/{job_id}/extend", json={"num_frames": 16}).text)
    bodies = [delivery.body for delivery in world.store.memory.deliveries.values()]
    events = [event.model_dump_json() for event in world.events.read(job_id)]
    assert sum(job_id in text for text in texts) > 5
    assert bodies
    for secret in (str(record.link_secret), SECRET.removeprefix("whsec_")):
        assert not [text for text in (*texts, *bodies, *events) if secret in text]
