"""Submitting, listing, reading, canceling and deleting jobs over HTTP."""

from functools import partial

import pytest
from fastapi.testclient import TestClient

from core.service.domain.manifest import manifest_key, tombstone_key
from core.service.domain.schema import ChunkList, Job, JobStatus, Lane, StepProgress
from core.service.redis import queue
from core.service.testing.queue import SentMessage
from tests.helpers.api_world import BASE_URL, PROMPT, World, submit
from tests.helpers.manifests import record_from_manifest


def test_a_job_is_accepted_stored_and_queued(api: TestClient, world: World) -> None:
    answer = api.post("/jobs", json={"prompt": PROMPT, "num_frames": 40, "metadata": {"a": "b"}})
    job = Job.model_validate(answer.json())
    assert answer.status_code == 202
    assert answer.headers["location"] == f"{BASE_URL}/jobs/{job.id}" == job.links.self
    assert answer.headers["retry-after"] == "1"
    assert (job.status, job.progress.chunks_total, job.progress.queue_position) == ("queued", 3, 1)
    assert world.store.get(job.id).spec.metadata == {"a": "b"}
    assert world.queue.messages == [SentMessage(queue.TASK_GENERATE_CHUNK, "generate.fake", job.id)]


def test_warnings_of_a_request_stay_with_its_job(api: TestClient, world: World) -> None:
    answer = api.post("/jobs", json={"prompt": "a (red:1.4)\u200b circle", "seconds": 2.01, "fps": 29.97})
    job = Job.model_validate(answer.json())
    found = [(warning.code, warning.field) for warning in job.warnings]
    assert found == [
        ("characters_removed", "prompt"),
        ("foreign_syntax", "prompt"),
        ("frame_rate_snapped", "fps"),
        ("seconds_rounded", "seconds"),
    ]
    assert (job.request.prompt, answer.json()["request"]["fps"]) == ("a (red:1.4) circle", "30000/1001")
    assert api.get(f"/jobs/{job.id}").json()["warnings"] == answer.json()["warnings"]
    assert api.get("/jobs").json()["jobs"][0]["warnings"] == answer.json()["warnings"]
    assert record_from_manifest(world.storage.objects[manifest_key(job.id)]).warnings == job.warnings


def test_a_plain_request_has_no_warnings_and_shows_a_whole_rate_as_a_number(api: TestClient) -> None:
    answer = api.post("/jobs", json={"prompt": PROMPT, "fps": 24.0}).json()
    assert (answer["warnings"], answer["request"]["fps"]) == ([], 24)


def test_seconds_playable_follow_a_fractional_rate(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=48, fps="24000/1001")
    world.make_chunk(job_id, seconds=4)
    progress = Job.model_validate(api.get(f"/jobs/{job_id}").json()).progress
    assert progress.seconds_playable == 16 * 1001 / 24000


def test_refused_requests_leave_nothing_behind(api: TestClient, world: World) -> None:
    assert api.post("/jobs", json={"prompt": PROMPT, "num_frames": 3}).status_code == 422
    assert world.store.count_active() == 0
    assert world.queue.messages == []


def test_a_full_service_answers_with_retry_after(world: World) -> None:
    with world.client(world.settings.model_copy(update={"max_queued_jobs": 1})) as api:
        submit(api)
        answer = api.post("/jobs", json={"prompt": PROMPT})
    assert (answer.status_code, answer.json()["code"]) == (503, "service_full")
    assert int(answer.headers["retry-after"]) > 0


def test_a_job_reads_as_it_stands(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=48)
    world.make_chunk(job_id, seconds=4)
    world.step(job_id, 4)
    job = Job.model_validate(api.get(f"/jobs/{job_id}").json())
    assert (job.status, job.version, job.progress.frames_done) == ("running", 1, 16)
    assert (job.progress.step, job.progress.steps, job.progress.eta_seconds) == (4, 8, 6.0)
    (chunk,) = ChunkList.model_validate(api.get(f"/jobs/{job_id}/chunks").json()).chunks
    assert chunk.url == f"{BASE_URL}/jobs/{job_id}/chunks/0.mp4"


def test_an_unchanged_job_is_not_sent_again(api: TestClient, world: World) -> None:
    job_id = submit(api)
    first = api.get(f"/jobs/{job_id}")
    etag = first.headers["etag"]
    assert etag.startswith('"')
    again = api.get(f"/jobs/{job_id}", headers={"If-None-Match": f'"other", W/{etag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    world.start(job_id)
    changed = api.get(f"/jobs/{job_id}", headers={"If-None-Match": etag})
    assert (changed.status_code, changed.json()["status"]) == (200, "running")


def test_every_change_of_a_job_changes_its_etag(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=32, refine=True)
    step = partial(world.step, step=3)
    changes = (world.start, step, world.make_chunk, world.make_chunk, *[world.refine_chunk] * 2, world.finalize)
    tags = [api.get(f"/jobs/{job_id}").headers["etag"]]
    for change in changes:
        change(job_id)
        tags.append(api.get(f"/jobs/{job_id}").headers["etag"])
        assert api.get(f"/jobs/{job_id}", headers={"If-None-Match": tags[-1]}).status_code == 304
    assert len(set(tags)) == len(tags)


def test_links_follow_the_public_address_of_the_settings(world: World) -> None:
    with world.client(world.settings.model_copy(update={"public_base_url": "https://video.example/api/"})) as api:
        answer = api.post("/jobs", json={"prompt": PROMPT})
    assert answer.json()["links"]["events"].startswith("https://video.example/api/jobs/job_")


def test_jobs_are_listed_newest_first_page_by_page(api: TestClient, world: World) -> None:
    made = list[str]()
    for _ in range(3):
        made.insert(0, submit(api))
        world.clock.advance(1)
    first = api.get("/jobs", params={"limit": 2, "status": "queued"})
    assert [job["id"] for job in first.json()["jobs"]] == made[:2]
    assert "chunks" not in first.json()["jobs"][0]
    last = api.get(first.links["next"]["url"])
    assert [job["id"] for job in last.json()["jobs"]] == made[2:]
    assert last.json()["next_cursor"] is None
    assert "link" not in last.headers


def test_a_page_may_end_with_a_job_whose_client_chose_its_id(api: TestClient, world: World) -> None:
    older = submit(api)
    world.clock.advance(1)
    api.put("/jobs/trailer-7", json={"prompt": PROMPT})
    first = api.get("/jobs", params={"limit": 1})
    assert [job["id"] for job in api.get(first.links["next"]["url"]).json()["jobs"]] == [older]


def test_lists_can_be_of_one_status(api: TestClient, world: World) -> None:
    started, _ = submit(api), submit(api)
    world.start(started)
    jobs = api.get("/jobs", params={"status": "running"}).json()["jobs"]
    assert [job["id"] for job in jobs] == [started]


def test_chunks_after_an_index(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=40)
    world.finish(job_id)
    answer = api.get(f"/jobs/{job_id}/chunks", params={"after": 0})
    listed = ChunkList.model_validate(answer.json())
    assert [(chunk.index, chunk.first_frame, chunk.num_frames) for chunk in listed.chunks] == [(1, 16, 16), (2, 32, 8)]
    assert listed.status is JobStatus.SUCCEEDED
    unchanged = api.get(f"/jobs/{job_id}/chunks?after=0", headers={"If-None-Match": answer.headers["etag"]})
    assert unchanged.status_code == 304


def test_chunks_come_page_by_page(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=80)
    world.finish(job_id)
    url, pages = f"/jobs/{job_id}/chunks?limit=2", list[list[int]]()
    while url:
        answer = api.get(url)
        pages.append([chunk["index"] for chunk in answer.json()["chunks"]])
        url = answer.links["next"]["url"] if "next" in answer.links else ""
        assert answer.json()["next_after"] == (pages[-1][-1] if url else None)
    assert pages == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "after=-2", "after=99999999999"])
def test_a_page_of_chunks_has_bounds(api: TestClient, query: str) -> None:
    answer = api.get(f"/jobs/{submit(api)}/chunks?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, query.split("=")[0])


def test_a_job_shows_its_chunks_only_if_they_are_asked_for(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=32)
    world.make_chunk(job_id)
    bare, whole = api.get(f"/jobs/{job_id}"), api.get(f"/jobs/{job_id}?include=chunks")
    assert "chunks" not in bare.json()
    assert whole.json().pop("chunks") == api.get(f"/jobs/{job_id}/chunks").json()["chunks"]
    assert {**whole.json(), "chunks": 0} == {**bare.json(), "chunks": 0}
    assert bare.headers["etag"] != whole.headers["etag"]
    assert api.get(f"/jobs/{job_id}?include=frames").status_code == 422


def test_an_unchanged_job_is_answered_without_its_record(
    api: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(api)
    etag, marks = api.get(f"/jobs/{job_id}").headers["etag"], world.store.marks([job_id])
    monkeypatch.setattr(world.store, "marks", lambda job_ids: marks if job_ids == [job_id] else None)  # pyright: ignore
    for read in ("get", "look", "looks", "chunks", "live_statuses"):
        monkeypatch.setattr(world.store, read, None)
    with world.client() as fresh:
        assert fresh.get(f"/jobs/{job_id}", headers={"If-None-Match": etag}).status_code == 304


def test_a_waiting_job_is_canceled_at_once_and_its_webhook_sent(api: TestClient, world: World) -> None:
    job_id = submit(api, webhook_url="https://example.com/hook")
    world.queue.messages.clear()
    answers = [api.post(f"/jobs/{job_id}/cancel") for _ in range(2)]
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(202, "canceled")] * 2
    assert world.queue.messages == [SentMessage(queue.TASK_DELIVER_WEBHOOKS, queue.WEBHOOKS_QUEUE)]


def test_a_running_job_is_canceling_until_its_worker_stops(api: TestClient, world: World) -> None:
    job_id = submit(api)
    assert world.store.claim(job_id, Lane.GENERATE, "worker-1", 30)
    assert api.post(f"/jobs/{job_id}/cancel").json()["status"] == "canceling"
    assert world.store.cancel_requested(job_id)
    manifest = record_from_manifest(world.storage.get(manifest_key(job_id)))
    assert (manifest.status, manifest.cancel_requested) == (JobStatus.CANCELING, True)


def test_a_running_job_without_an_active_worker_is_finalized_at_once(api: TestClient, world: World) -> None:
    job_id = submit(api)
    world.make_chunk(job_id)
    world.queue.messages.clear()
    assert api.post(f"/jobs/{job_id}/cancel").json()["status"] == "finalizing"
    assert [message.task for message in world.queue.messages] == [queue.TASK_FINALIZE_JOB]


def test_an_ended_job_cannot_be_canceled(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=16)
    world.finish(job_id)
    answer = api.post(f"/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_state_conflict")


def test_deleting_a_running_job_is_accepted_and_it_is_gone_at_once(api: TestClient, world: World) -> None:
    job_id = submit(api)
    world.start(job_id)
    assert api.delete(f"/jobs/{job_id}").status_code == 202
    assert api.get(f"/jobs/{job_id}").status_code == 404
    assert api.delete(f"/jobs/{job_id}").status_code == 404
    assert world.store.cancel_requested(job_id)


def test_a_202_is_sent_after_record_and_manifest_are_stored(api: TestClient, world: World) -> None:
    job_id = submit(api)
    assert record_from_manifest(world.storage.get(manifest_key(job_id))) == world.store.get(job_id)
    assert world.store.stale_manifests() == []


def test_a_job_whose_manifest_cannot_be_stored_is_not_accepted(api: TestClient, world: World) -> None:
    world.storage.broken = True
    answer = api.post("/jobs", json={"prompt": "a red circle"})
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert world.store.list().jobs == []


def test_a_tombstone_is_stored_before_a_deletion_is_answered(api: TestClient, world: World) -> None:
    job_id = submit(api)
    assert api.delete(f"/jobs/{job_id}").status_code == 204
    assert world.storage.exists(tombstone_key(job_id))
    other = submit(api)
    world.storage.broken = True
    assert api.delete(f"/jobs/{other}").status_code == 503


def test_deleting_an_ended_job_leaves_the_objects_to_the_janitor(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=16)
    world.finish(job_id)
    answer = api.delete(f"/jobs/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert SentMessage(queue.TASK_JANITOR, queue.JANITOR_QUEUE) in world.queue.messages
    assert api.get("/jobs").json()["jobs"] == []


def test_a_refined_job_shows_both_lanes(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=40, refine={"strength": 0.5, "size": "256x256"})
    for _ in range(2):
        world.make_chunk(job_id)
    world.refine_chunk(job_id)
    told = StepProgress(lane=Lane.REFINE, chunk_index=1, step=2, steps=4, at=world.clock.now())
    world.store.report_progress(job_id, told)
    job = api.get(f"/jobs/{job_id}?include=chunks").json()
    assert [bool(chunk["refined_url"]) for chunk in job["chunks"]] == [True, False]
    assert (job["progress"]["chunks_done"], job["progress"]["chunks_refined"], job["version"]) == (2, 1, 3)
    assert (job["progress"]["refine_step"], job["progress"]["refine_steps"], job["progress"]["steps"]) == (2, 4, 0)
    assert (job["request"]["refine"]["strength"], job["request"]["refine"]["width"]) == (0.5, 256)


@pytest.mark.parametrize(
    ("refine", "field"),
    [
        (2, "refine"),
        ("yes", "refine"),
        ({"strength": 0}, "refine.strength"),
        ({"strength": 1.5}, "refine.strength"),
        ({"steps": 2.5}, "refine.steps"),
        ({"size": "128"}, "refine.size"),
        ({"size": "100x100"}, "refine.size"),
        ({"schedule": "later"}, "refine.schedule"),
        ({"strenght": 0.5}, "refine.strenght"),
    ],
)
def test_a_refinement_that_cannot_be_is_refused_by_the_name_of_its_field(
    api: TestClient, refine: object, field: str
) -> None:
    answer = api.post("/jobs", json={"prompt": "a red circle", "refine": refine})
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert answer.json()["fix"]
