"""What both clients send, and what they make of the answers."""

from __future__ import annotations

import httpx
import pytest

from core.service.domain.priority import Priority
from core.service.domain.schema import Estimate, JobPlan, JobRequest, JobStatus
from tests.helpers.shown_jobs import MakeJob
from tests.unit.client.conftest import TOO_FEW, Ask, Recorder


def answered(make_job: MakeJob, **more: object) -> Recorder:
    return Recorder({**make_job().model_dump(mode="json"), **more})


def test_a_request_is_made_of_keywords_or_is_a_dict_or_the_schema_without_defaults(ask: Ask, make_job: MakeJob) -> None:
    api = answered(make_job)
    ask(
        api,
        lambda client: client.jobs.create(prompt="x", num_frames=None),
        lambda client: client.jobs.create({"prompt": "x"}),
        lambda client: client.jobs.create(JobRequest(prompt="x", num_frames=17)),
        lambda client: client.jobs.create(JobRequest(prompt="x", priority=Priority.LOW)),
    )
    bodies = [body for _, _, body in api.sent]
    assert bodies == [
        {"prompt": "x", "num_frames": None},
        {"prompt": "x"},
        {"prompt": "x", "num_frames": 17},
        {"prompt": "x", "priority": "low"},
    ]


def test_a_request_and_keywords_together_are_refused(ask: Ask, make_job: MakeJob) -> None:
    with pytest.raises(TypeError, match="not both"):
        ask(answered(make_job), lambda client: client.jobs.create({"prompt": "x"}, seed=1))


def test_every_creation_has_a_key_of_its_own_unless_the_id_is_the_caller_s(ask: Ask, make_job: MakeJob) -> None:
    api = answered(make_job)
    ask(
        api,
        lambda client: client.jobs.create(prompt="x"),
        lambda client: client.jobs.create(prompt="x"),
        lambda client: client.jobs.create(prompt="x", idempotency_key="k", wait_seconds=50),
        lambda client: client.jobs.create(prompt="x", job_id="mine"),
    )
    keys = [headers.get("idempotency-key") for headers in api.headers]
    assert keys[0] != keys[1]
    assert keys[2:] == ["k", None]
    assert api.headers[2]["prefer"] == "wait=50"
    assert [sent[:2] for sent in api.sent] == [("POST", "/jobs")] * 3 + [("PUT", "/jobs/mine")]


def test_a_wait_that_was_asked_for_is_not_ended_by_the_timeout(ask: Ask, make_job: MakeJob) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.extensions["timeout"]["read"] == 80
        return httpx.Response(202, text=make_job().model_dump_json())

    ask(answer, lambda client: client.jobs.create(prompt="x", wait_seconds=50))


def test_a_plan_is_read(ask: Ask, make_job: MakeJob) -> None:
    plan = JobPlan(
        request=make_job().request,
        warnings=(),
        num_chunks=3,
        last_chunk_frames=16,
        estimate=Estimate(seconds_per_chunk=2.0, seconds_total=7.0),
    )
    api = Recorder(plan.model_dump(mode="json"))
    assert ask(api, lambda client: client.jobs.plan(prompt="x")) == [plan]
    assert api.sent == [("POST", "/jobs?dry_run=true", {"prompt": "x"})]


def test_jobs_of_a_batch_come_with_what_became_of_them(ask: Ask, make_job: MakeJob) -> None:
    results = [
        {"status": 202, "job": make_job().model_dump(mode="json"), "error": None},
        {"status": 422, "job": None, "error": TOO_FEW},
    ]
    api = Recorder({"results": results})
    requests = [{"prompt": "x"}, JobRequest(prompt="y", num_frames=5)]
    ((made, refused),) = ask(api, lambda client: client.jobs.batch(requests))
    assert (made.status, made.job, made.error) == (202, make_job(), None)
    assert (refused.status, refused.job, refused.error["code"]) == (422, None, "too_few_frames")
    assert api.sent == [("POST", "/jobs/batch", {"jobs": [{"prompt": "x"}, {"prompt": "y", "num_frames": 5}]})]
    assert api.headers[0]["idempotency-key"]


def test_an_unchanged_job_is_the_one_known_on_304(ask: Ask, make_job: MakeJob) -> None:
    asked: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("if-none-match"))
        if asked[-1] == '"one"':
            return httpx.Response(304)
        return httpx.Response(200, text=make_job(num_chunks=1).model_dump_json(), headers={"etag": '"one"'})

    seen = ask(answer, lambda job: job.refresh(), lambda job: job.refresh(), job=make_job())
    assert seen == [make_job(num_chunks=1)] * 2
    assert asked == [None, '"one"']


def test_all_jobs_are_listed_page_by_page(ask: Ask, make_job: MakeJob) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.query.decode())
        cursor = "abc" if "cursor" not in request.url.params else None
        return httpx.Response(200, json={"jobs": [make_job().model_dump(mode="json")], "next_cursor": cursor})

    assert ask(answer, lambda client: client.jobs.list(JobStatus.RUNNING)) == [[make_job()] * 2]
    assert asked == ["status=running&limit=100", "status=running&limit=100&cursor=abc"]


def test_a_page_of_jobs_is_asked_for_with_what_was_given(ask: Ask) -> None:
    api = Recorder({"jobs": [], "next_cursor": None})
    ask(api, lambda client: client.jobs.page(), lambda client: client.jobs.page("running", 5, "abc", owner="key_x"))
    assert [path for _, path, _ in api.sent] == [
        "/jobs?limit=20",
        "/jobs?status=running&limit=5&cursor=abc&owner=key_x",
    ]


def test_chunks_are_asked_for_with_and_without_presigned_urls(ask: Ask, make_job: MakeJob) -> None:
    api = Recorder({"status": "running", "chunks": []})
    ask(api, lambda job: job.chunk_page(3), lambda job: job.chunk_page(-1, 10, "presigned_urls"), job=make_job())
    assert [path for _, path, _ in api.sent] == [
        "/jobs/job_x/chunks?after=3&limit=100",
        "/jobs/job_x/chunks?after=-1&limit=10&include=presigned_urls",
    ]


def test_a_change_is_sent_without_what_was_not_given(ask: Ask, make_job: MakeJob) -> None:
    api = answered(make_job, acts_from_frame=48)
    changed, *_ = ask(
        api,
        lambda job: job.steer("a blue circle"),
        lambda job: job.steer(num_frames=480),
        lambda job: job.steer(num_frames=None),
        lambda job: job.steer(priority="high"),
        job=make_job(),
    )
    assert changed.acts_from_frame == 48
    others: list[object] = [{"num_frames": 480}, {"num_frames": None}, {"priority": "high"}]
    bodies = [{"prompt": "a blue circle"}, *others]
    assert api.sent == [("PATCH", "/jobs/job_x", body) for body in bodies]


def test_a_job_goes_on_and_a_branch_is_begun(ask: Ask, make_job: MakeJob) -> None:
    api = answered(make_job)
    ask(
        api,
        lambda job: job.extend(48),
        lambda job: job.extend(48, "a blue circle"),
        lambda job: job.retry(),
        lambda job: job.branch(3),
        lambda job: job.branch(3, "a blue circle", 8, 96, {"a": "b"}, "low"),
        lambda job: job.branch(3, measure=False),
        lambda job: job.cancel(),
        job=make_job(),
    )
    named = {"prompt": "a blue circle", "seed": 8, "num_frames": 96, "metadata": {"a": "b"}, "priority": "low"}
    assert api.sent == [
        ("POST", "/jobs/job_x/extend", {"num_frames": 48}),
        ("POST", "/jobs/job_x/extend", {"num_frames": 48, "prompt": "a blue circle"}),
        ("POST", "/jobs/job_x/retry", None),
        ("POST", "/jobs/job_x/branch", {"from_chunk": 3}),
        ("POST", "/jobs/job_x/branch", {"from_chunk": 3, **named}),
        ("POST", "/jobs/job_x/branch", {"from_chunk": 3, "measure": False}),
        ("POST", "/jobs/job_x/cancel", None),
    ]


def test_a_handle_shows_what_its_methods_were_answered(ask: Ask, make_job: MakeJob) -> None:
    canceling = make_job(JobStatus.CANCELING).model_dump(mode="json")
    states = ask(
        lambda _: httpx.Response(202, json=canceling),
        lambda job: job.status,
        lambda job: job.cancel(),
        lambda job: (job.status, job.has_ended, job.progress.chunks_total, job.links.self),
        job=make_job(),
    )
    assert states[0] is JobStatus.RUNNING
    assert states[2] == (JobStatus.CANCELING, False, 3, "http://api.test/jobs/job_x")


def test_what_is_deleted_or_revoked_has_no_answer(ask: Ask, make_job: MakeJob) -> None:
    api = Recorder(status=204)
    of_job = ask(api, lambda job: job.delete(), lambda job: job.revoke_links(), job=make_job())
    of_client = ask(api, lambda client: client.uploads.delete("upl_x"), lambda client: client.keys.revoke("key_x"))
    assert of_job + of_client == [None] * 4
    assert [sent[:2] for sent in api.sent] == [
        ("DELETE", "/jobs/job_x"),
        ("POST", "/jobs/job_x/revoke-links"),
        ("DELETE", "/uploads/upl_x"),
        ("DELETE", "/keys/key_x"),
    ]


def test_metrics_are_asked_for_and_read(ask: Ask, make_job: MakeJob) -> None:
    metrics = {
        "job_id": "job_x",
        "generation": 0,
        "measured_at": "2026-01-02T03:04:05Z",
        "version": "0.1.0",
        "videos": {
            "preview": {
                "num_frames": 48,
                "flow": "dis",
                "values": {"scuts": {"value": 0, "title": "SCuts", "meaning": "Number of hard cuts.", "new": 1}},
                "curves": {"warp_error": {"step": 1, "values": [0.5, None]}},
            }
        },
    }
    (read,) = ask(Recorder(metrics), lambda job: job.metrics(), job=make_job())[:1]
    assert read.videos["preview"].values["scuts"].value == 0
    assert read.videos["preview"].curves["warp_error"].values == (0.5, None)
    api = answered(make_job)
    ask(api, lambda job: job.measure(), job=make_job())
    assert [sent[:2] for sent in api.sent] == [("POST", "/jobs/job_x/metrics")]
