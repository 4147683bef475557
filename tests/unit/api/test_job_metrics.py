"""GET and POST /jobs/{id}/metrics: what they answer at each stage, to whom, and what events and links tell."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.service.domain.manifest import manifest_key, metrics_key
from core.service.domain.schema import JobError, JobMetrics, Lane
from core.service.redis import queue
from core.service.testing.outbox import FakeOutbox
from tests.helpers.api_world import BASE_URL, World, submit
from tests.helpers.manifests import record_from_manifest

ERROR = JobError(code="video_unmeasurable", message="it is damaged", retryable=False, fix="tell them")
HOOK = "https://example.com/hook"


def problem(api: TestClient, job_id: str) -> tuple[int, str, str]:
    """Status and code of GET, and how to go on."""
    answer = api.get(f"/jobs/{job_id}/metrics")
    return answer.status_code, answer.json()["code"], answer.json()["fix"]


def status_of(api: TestClient, job_id: str) -> object:
    shown = api.get(f"/jobs/{job_id}").json()["measurement"]
    return shown and shown["status"]


def test_metrics_are_there_after_the_job_s_end_and_a_worker_has_measured_it(api: TestClient, world: World) -> None:
    job_id = submit(api, measure=True)
    assert api.get(f"/jobs/{job_id}").json()["request"]["measure"] is True
    assert problem(api, job_id)[:2] == (404, "metrics_not_ready")
    assert "at its end" in api.get(f"/jobs/{job_id}/metrics").json()["detail"]
    world.finish(job_id)
    assert api.get(f"/jobs/{job_id}").json()["status"] == "succeeded", "it does not wait"
    assert problem(api, job_id)[:2] == (404, "metrics_not_ready")
    assert api.get(f"/jobs/{job_id}/metrics").headers["Retry-After"] == "2"
    assert status_of(api, job_id) == "waiting"
    metrics = world.measure(job_id)
    answer = api.get(f"/jobs/{job_id}/metrics")
    assert (answer.status_code, JobMetrics.model_validate(answer.json())) == (200, metrics)
    again = api.get(f"/jobs/{job_id}/metrics", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    job = api.get(f"/jobs/{job_id}").json()
    assert (job["status"], job["measurement"]["status"]) == ("succeeded", "measured")
    assert job["links"]["metrics"] == f"{BASE_URL}/jobs/{job_id}/metrics"


def test_the_job_s_etag_changes_when_it_is_measured(api: TestClient, world: World) -> None:
    job_id = submit(api, measure=True)
    world.finish(job_id)
    before = api.get(f"/jobs/{job_id}").headers["ETag"]
    world.measure(job_id)
    assert api.get(f"/jobs/{job_id}", headers={"If-None-Match": before}).status_code == 200


def test_nobody_asked_and_then_somebody_does(api: TestClient, world: World) -> None:
    job_id = submit(api)
    world.finish(job_id)
    assert status_of(api, job_id) is None
    status, code, fix = problem(api, job_id)
    assert (status, code) == (404, "metrics_not_asked")
    assert "POST" in fix
    world.queue.messages.clear()
    answer = api.post(f"/jobs/{job_id}/metrics")
    assert (answer.status_code, answer.json()["measurement"]["status"]) == (202, "waiting")
    assert answer.json()["status"] == "succeeded"
    assert [message.task for message in world.queue.messages] == [queue.TASK_MEASURE_VIDEO]
    assert record_from_manifest(world.storage.objects[manifest_key(job_id)]) == world.store.get(job_id)
    assert api.post(f"/jobs/{job_id}/metrics").status_code == 202
    world.measure(job_id)
    assert api.post(f"/jobs/{job_id}/metrics").json()["measurement"]["status"] == "measured"
    assert api.get(f"/jobs/{job_id}/metrics").status_code == 200


def test_a_failure_is_told_with_its_reason_and_may_be_tried_again(api: TestClient, world: World) -> None:
    job_id = submit(api, measure=True)
    world.finish(job_id)
    world.store.give_up_measuring(job_id, 0, ERROR)
    answer = api.get(f"/jobs/{job_id}/metrics")
    told = answer.json()
    assert (answer.status_code, told["code"], told["detail"]) == (409, "measuring_failed", "it is damaged")
    assert told["fix"] == "tell them, or POST to this URL to try again"
    job = api.get(f"/jobs/{job_id}").json()
    assert (job["status"], job["error"]) == ("succeeded", None)
    assert (job["measurement"]["status"], job["measurement"]["error"]["code"]) == ("failed", "video_unmeasurable")
    assert api.post(f"/jobs/{job_id}/metrics").json()["measurement"]["status"] == "waiting"
    world.measure(job_id)
    assert api.get(f"/jobs/{job_id}/metrics").status_code == 200


def test_metrics_that_are_lost_are_told_and_made_anew_on_request(api: TestClient, world: World) -> None:
    job_id = submit(api, measure=True)
    world.finish(job_id)
    metrics = world.measure(job_id)
    world.storage.delete([metrics_key(job_id)])
    assert problem(api, job_id)[:2] == (409, "measuring_failed")
    assert "POST" in problem(api, job_id)[2]
    world.queue.messages.clear()
    assert api.post(f"/jobs/{job_id}/metrics").json()["measurement"]["status"] == "waiting"
    assert [message.task for message in world.queue.messages] == [queue.TASK_MEASURE_VIDEO]
    assert problem(api, job_id)[:2] == (404, "metrics_not_ready")
    assert world.measure(job_id).videos == metrics.videos
    assert api.get(f"/jobs/{job_id}/metrics").status_code == 200


@pytest.mark.parametrize("damage", ["no flow", "no metrics"])
def test_metrics_that_lack_something_are_made_anew_on_request(api: TestClient, world: World, damage: str) -> None:
    job_id = submit(api, measure=True)
    world.finish(job_id)
    whole = world.measure(job_id).model_dump_json()
    stored = whole.replace('"flow":"dis"', '"flow":null') if damage == "no flow" else "{"
    assert stored != whole
    world.storage.put(metrics_key(job_id), stored.encode(), "application/json")
    assert status_of(api, job_id) == "measured"
    assert api.post(f"/jobs/{job_id}/metrics").json()["measurement"]["status"] == "waiting"


def test_asking_for_what_is_asked_for_or_measured_writes_nothing(api: TestClient, world: World) -> None:
    job_id = submit(api)
    world.finish(job_id)
    assert api.post(f"/jobs/{job_id}/metrics").status_code == 202
    for change in (lambda: None, lambda: world.measure(job_id)):
        change()
        world.storage.delete([manifest_key(job_id)])
        world.queue.messages.clear()
        assert api.post(f"/jobs/{job_id}/metrics").status_code == 202
        assert manifest_key(job_id) not in world.storage.objects
        assert [*world.queue.messages] == []


@pytest.mark.parametrize("ask", ["get", "post"])
def test_a_job_without_a_video_has_nothing_to_measure(api: TestClient, world: World, ask: str) -> None:
    job_id = submit(api, measure=True)
    world.make_chunk(job_id)
    world.store.fail(job_id, ERROR)
    answer = api.request(ask, f"/jobs/{job_id}/metrics")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_state_conflict")
    assert status_of(api, job_id) is None


def test_the_metrics_of_a_shorter_video_are_gone_when_the_job_goes_on(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=32, measure=True)
    world.finish(job_id)
    world.measure(job_id)
    api.post(f"/jobs/{job_id}/extend", json={"num_frames": 16})
    assert problem(api, job_id)[:2] == (404, "metrics_not_ready")
    world.finish(job_id)
    assert problem(api, job_id)[:2] == (404, "metrics_not_ready")
    assert world.measure(job_id).generation == 1
    assert api.get(f"/jobs/{job_id}/metrics").json()["generation"] == 1


def test_a_branch_is_measured_as_its_source_is_or_as_it_asks(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=48, measure=True)
    world.make_chunk(job_id)
    branch = api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 1})
    assert (branch.status_code, branch.json()["request"]["measure"]) == (202, True)
    for asked in (False, True):
        branch = api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 1, "measure": asked})
        assert (branch.status_code, branch.json()["request"]["measure"]) == (202, asked)
    refused = api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 1, "measure": None})
    assert (refused.status_code, refused.json()["field"]) == (422, "measure")


@pytest.mark.parametrize("asked", ["yes", 1, None])
def test_measure_is_true_or_false(api: TestClient, asked: object) -> None:
    answer = api.post("/jobs", json={"prompt": "a red circle", "measure": asked})
    assert (answer.status_code, answer.json()["field"]) == (422, "measure")


def test_an_unknown_and_a_deleted_job_are_not_found(api: TestClient, world: World) -> None:
    assert problem(api, "job_nowhere")[:2] == (404, "job_not_found")
    job_id = submit(api, measure=True)
    world.finish(job_id)
    world.measure(job_id)
    api.delete(f"/jobs/{job_id}")
    assert problem(api, job_id)[:2] == (404, "job_not_found")
    assert api.post(f"/jobs/{job_id}/metrics").status_code == 404


def test_deleting_a_job_that_is_being_measured_says_that_a_worker_holds_it(api: TestClient, world: World) -> None:
    job_id = submit(api, measure=True)
    world.finish(job_id)
    assert world.store.claim(job_id, Lane.MEASURE, "cpu-1/measure", 30) is not None
    assert api.delete(f"/jobs/{job_id}").status_code == 202


# Events and webhooks


def test_the_stream_of_a_job_ends_with_its_end_and_tells_of_the_measuring_to_who_comes_back(
    api: TestClient, world: World
) -> None:
    job_id = submit(api, num_frames=16, measure=True)
    world.finish(job_id)
    text = api.get(f"/jobs/{job_id}/events").text
    assert text.rstrip().split("event: ")[-1].startswith("job.succeeded")
    last = {"Last-Event-ID": text.rsplit("id: ", 1)[1].split("\n")[0]}
    world.measure(job_id)
    rest = api.get(f"/jobs/{job_id}/events", headers=last).text
    assert rest.count("event: ") == rest.count("event: job.measured") == 1
    last = {"Last-Event-ID": rest.split("id: ")[1].split("\n")[0]}
    assert api.get(f"/jobs/{job_id}/events", headers=last).status_code == 204
    with world.client() as fresh:
        whole = fresh.get(f"/jobs/{job_id}/events").text
    assert whole == text + rest.removeprefix(text[: text.index("id: ")])


def test_a_webhook_tells_of_the_measuring_only_who_wants_it(api: TestClient, world: World) -> None:
    def sent(**fields: Any) -> list[str]:
        job_id = submit(api, measure=True, webhook_url=HOOK, **fields)
        world.finish(job_id)
        world.measure(job_id)
        outbox = FakeOutbox(world.store, world.clock)
        return [row.event_type for row in outbox.of_job(job_id)]

    assert sent(webhook_events=["job.measured"]) == ["job.measured"]
    assert sent() == ["job.succeeded"]
