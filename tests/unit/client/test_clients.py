"""Both clients against a transport that answers as the API does."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import httpx
import pytest

from api.routes.batch import BatchResult as ApiBatchResult
from api.routes.models import Model as ApiModel
from api.routes.uploads import UploadTarget as ApiUploadTarget
from api.routes.uploads import UploadView as ApiUpload
from client import (
    ApiError,
    ApiUnreachable,
    ApiUnreadable,
    AsyncClient,
    BatchResult,
    Client,
    ClientError,
    Model,
    ServerEvent,
    StorageUnreachable,
    Upload,
    WaitTimeout,
)
from client.files import PIECE_BYTES
from client.models import UploadTarget
from core.service.domain.schema import Estimate, JobPlan, JobRequest, JobStatus
from tests.helpers.shown_jobs import MakeJob, chunk
from tests.unit.client.conftest import Ask

TOO_FEW = {"code": "too_few_frames", "detail": "5 is too few", "field": "num_frames", "fix": "give at least 16"}


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        public = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(method).parameters) for name, method in public if name[0] != "_"}

    assert methods(Client) == methods(AsyncClient)
    assert all(
        method.__doc__ for _, method in inspect.getmembers(Client, inspect.isfunction) if method.__name__[0] != "_"
    )


def test_fields_the_client_reads_are_fields_the_api_sends() -> None:
    pairs = ((Model, ApiModel), (Upload, ApiUpload), (UploadTarget, ApiUploadTarget), (BatchResult, ApiBatchResult))
    for read, sent in pairs:
        assert set(read.model_fields) <= set(sent.model_fields)


def test_an_unchanged_job_is_taken_from_memory_on_304(ask: Ask, make_job: MakeJob) -> None:
    asked: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("if-none-match"))
        if asked[-1] == '"one"':
            return httpx.Response(304)
        return httpx.Response(200, text=make_job().model_dump_json(), headers={"etag": '"one"'})

    first, second = ask(answer, ("get_job", "job_x"), ("get_job", "job_x"))
    assert first == second
    assert asked == [None, '"one"']


def test_a_request_is_sent_as_a_dict_or_as_the_schema_without_defaults(ask: Ask, make_job: MakeJob) -> None:
    sent: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        return httpx.Response(202, text=make_job().model_dump_json())

    ask(answer, ("create_job", {"prompt": "x"}), ("create_job", JobRequest(prompt="x", num_frames=17)))
    assert sent == [{"prompt": "x"}, {"prompt": "x", "num_frames": 17}]


def test_a_job_can_be_asked_for_safely_and_waited_for(ask: Ask, make_job: MakeJob) -> None:
    sent: list[tuple[str, str, object, object, float]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        key, prefer = request.headers.get("idempotency-key"), request.headers.get("prefer")
        sent.append((request.method, request.url.path, key, prefer, request.extensions["timeout"]["read"]))
        return httpx.Response(202, text=make_job().model_dump_json())

    ask(answer, ("create_job", {"prompt": "x"}), ("put_job", "mine", {"prompt": "x"}))
    with Client("http://api.test", transport=httpx.MockTransport(answer)) as client:
        client.create_job({"prompt": "x"}, idempotency_key="k", wait_seconds=50)
        client.put_job("mine", {"prompt": "x"}, wait_seconds=50)
    assert sent == [
        ("POST", "/jobs", None, None, 30.0),
        ("PUT", "/jobs/mine", None, None, 30.0),
        ("POST", "/jobs", "k", "wait=50", 80.0),
        ("PUT", "/jobs/mine", None, "wait=50", 80.0),
    ]


def test_a_plan_is_read(ask: Ask, make_job: MakeJob) -> None:
    plan = JobPlan(
        request=make_job().request,
        warnings=(),
        num_chunks=3,
        last_chunk_frames=16,
        estimate=Estimate(seconds_per_chunk=2.0, seconds_total=7.0),
    )

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.params["dry_run"] == "true"
        return httpx.Response(200, text=plan.model_dump_json())

    assert ask(answer, ("plan_job", {"prompt": "x"})) == [plan]


def test_jobs_of_a_batch_come_with_what_became_of_them(ask: Ask, make_job: MakeJob) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content) == {"jobs": [{"prompt": "x"}, {"prompt": "y", "num_frames": 5}]}
        results = [
            {"status": 202, "job": make_job().model_dump(mode="json"), "error": None},
            {"status": 422, "job": None, "error": TOO_FEW},
        ]
        return httpx.Response(200, json={"results": results})

    requests = [{"prompt": "x"}, JobRequest(prompt="y", num_frames=5)]
    ((made, refused),) = ask(answer, ("create_jobs", requests))
    assert (made.status, made.job, made.error) == (202, make_job(), None)
    assert (refused.status, refused.job, refused.error["code"]) == (422, None, "too_few_frames")


def test_a_problem_becomes_an_api_error_with_all_its_parts(ask: Ask) -> None:
    headers = {"content-type": "application/problem+json", "retry-after": "3", "x-request-id": "trace-7"}
    with pytest.raises(ApiError) as raised:
        ask(lambda _: httpx.Response(422, json=TOO_FEW, headers=headers), ("create_job", {}))
    error = raised.value
    assert (error.status, error.code, error.field, error.fix) == (422, "too_few_frames", "num_frames", TOO_FEW["fix"])
    assert (error.retry_after_seconds, error.request_id) == (3, "trace-7")
    assert str(error) == "num_frames: 5 is too few"


@pytest.mark.parametrize("response", [httpx.Response(502, text="<html>"), httpx.Response(502, json=[1])])
def test_an_answer_of_a_proxy_is_named_by_its_status(ask: Ask, response: httpx.Response) -> None:
    with pytest.raises(ApiError, match="HTTP 502") as raised:
        ask(lambda _: httpx.Response(502, headers=response.headers, content=response.content), ("list_models",))
    assert (raised.value.code, raised.value.retry_after_seconds) == (None, None)


def test_a_service_that_is_down_is_named(ask: Ask) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    for call in (("get_job", "job_x"), ("events", "job_x"), ("fetch", "/jobs/job_x/chunks/0.mp4")):
        with pytest.raises(ApiUnreachable, match=r"http://api\.test does not answer"):
            ask(answer, call)
    assert ask(answer, ("is_ready",)) == [False]


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://api.test", "http://x:port", ""])
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ClientError, match="is not the URL of an API"):
            kind(url)


def test_events_resume_after_the_last_one_seen(ask: Ask) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        last = request.headers.get("last-event-id", "none")
        return httpx.Response(200, text=f": hello\nretry: 1000\n\nid: 7-0\nevent: job.started\ndata: {last}\n\n")

    (events,) = ask(answer, ("events", "job_x", "6-0"))
    assert events == [ServerEvent("7-0", "job.started", "6-0")]


def test_events_of_an_unknown_job_are_an_api_error(ask: Ask) -> None:
    with pytest.raises(ApiError) as raised:
        ask(lambda _: httpx.Response(404, json={"code": "job_not_found", "title": "No such job."}), ("events", "job_x"))
    assert (raised.value.code, raised.value.message) == ("job_not_found", "No such job.")


def test_a_download_follows_the_redirect_and_is_whole_or_absent(ask: Ask, tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/jobs/job_x/video.mp4":
            assert request.url.query == b"variant=refined"
            return httpx.Response(307, headers={"location": "http://s3.test/video.mp4"})
        return httpx.Response(200, content=b"bytes") if request.url.path == "/video.mp4" else httpx.Response(404)

    ask(answer, ("download_video", "job_x", tmp_path / "a.mp4", "refined"))
    with pytest.raises(ApiError):
        ask(answer, ("download", "http://api.test/nothing", tmp_path / "b.mp4"))
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.mp4", b"bytes")]


def test_cancel_returns_the_job_and_delete_returns_nothing(ask: Ask, make_job: MakeJob) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            return httpx.Response(204)
        return httpx.Response(202, text=make_job(JobStatus.CANCELING).model_dump_json())

    canceled, *deleted = ask(answer, ("cancel_job", "job_x"), ("delete_job", "job_x"), ("delete_upload", "upl_x"))
    assert canceled.status is JobStatus.CANCELING
    assert deleted == [None, None]


def test_chunks_are_asked_for_with_and_without_presigned_urls(ask: Ask) -> None:
    seen = list[str]()

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.query.decode())
        return httpx.Response(200, json={"status": "running", "chunks": []})

    ask(answer, ("list_chunks", "job_a", 3), ("list_chunks", "job_a", -1, 10, "presigned_urls"))
    assert seen == ["after=3&limit=100", "after=-1&limit=10&include=presigned_urls"]


def test_a_change_is_sent_without_what_was_not_given(ask: Ask, make_job: MakeJob) -> None:
    sent: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append((request.method, request.url.path, json.loads(request.content)))
        return httpx.Response(200, json={**make_job(JobStatus.RUNNING).model_dump(mode="json"), "acts_from_frame": 48})

    (changed,) = ask(answer, ("change_job", "job_x", "a blue circle"))
    assert changed.acts_from_frame == 48
    assert sent == [("PATCH", "/jobs/job_x", {"prompt": "a blue circle"})] * len(sent)
    for length in (480, None):
        sent.clear()
        ask(answer, ("change_job", "job_x", None, None, None, length))
        assert sent == [("PATCH", "/jobs/job_x", {"num_frames": length})] * len(sent)


def test_an_ended_job_goes_on_and_a_branch_is_begun(ask: Ask, make_job: MakeJob) -> None:
    sent: list[tuple[str, str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append((request.method, request.url.path, json.loads(request.content or "null")))
        return httpx.Response(202, json=make_job(JobStatus.QUEUED).model_dump(mode="json"))

    calls = (
        ("extend_job", "job_x", 48),
        ("extend_job", "job_x", 48, "a blue circle"),
        ("retry_job", "job_x"),
        ("branch_job", "job_x", 3),
        ("branch_job", "job_x", 3, "a blue circle", 8, 96, {"a": "b"}),
    )
    assert [job.id for job in ask(answer, *calls)] == ["job_x"] * 5
    named = {"prompt": "a blue circle", "seed": 8, "num_frames": 96, "metadata": {"a": "b"}}
    assert sent == [
        ("POST", "/jobs/job_x/extend", {"num_frames": 48}),
        ("POST", "/jobs/job_x/extend", {"num_frames": 48, "prompt": "a blue circle"}),
        ("POST", "/jobs/job_x/retry", None),
        ("POST", "/jobs/job_x/branch", {"from_chunk": 3}),
        ("POST", "/jobs/job_x/branch", {"from_chunk": 3, **named}),
    ]


def test_a_page_of_jobs_is_asked_for_with_what_was_given(ask: Ask) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.query.decode())
        return httpx.Response(200, json={"jobs": [], "next_cursor": None})

    ask(answer, ("list_jobs",), ("list_jobs", JobStatus.RUNNING, 5, "abc"))
    assert asked == ["limit=20", "status=running&limit=5&cursor=abc"]


def test_an_upload_is_declared_then_sent_where_the_answer_says(ask: Ask, tmp_path: Path) -> None:
    clip, sent, shown = tmp_path / "clip.mp4", dict[str, httpx.Request](), list[tuple[int, int]]()
    size = PIECE_BYTES + 5
    clip.write_bytes(b"x" * size)

    def answer(request: httpx.Request) -> httpx.Response:
        sent[request.method] = request
        headers = {"content-type": "video/mp4", "content-length": str(size)}
        target = {"id": "upl_a", "method": "PUT", "url": "http://s3.test/uploads/upl_a?sig=1", "headers": headers}
        return httpx.Response(201, json=target) if request.method == "POST" else httpx.Response(200)

    def on_bytes(done: int, total: int) -> None:
        shown.append((done, total))

    assert ask(answer, ("upload", clip, "video/mp4", on_bytes)) == ["upl_a"]
    assert json.loads(sent["POST"].content) == {"content_type": "video/mp4", "size_bytes": size}
    assert str(sent["PUT"].url) == "http://s3.test/uploads/upl_a?sig=1"
    assert sent["PUT"].headers["content-length"] == str(len(sent["PUT"].content)) == str(size)
    assert "transfer-encoding" not in sent["PUT"].headers
    assert shown == [(PIECE_BYTES, size), (size, size)]


def test_a_storage_that_refuses_the_file_is_named_without_the_signature(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")

    def answer(request: httpx.Request) -> httpx.Response:
        target = {"id": "upl_a", "method": "PUT", "url": "http://s3.test/u?sig=1", "headers": {"content-length": "1"}}
        return httpx.Response(201, json=target) if request.method == "POST" else httpx.Response(403, text="<Error/>")

    with pytest.raises(ApiError, match=r"HTTP 403 from http://s3\.test/u$"):
        ask(answer, ("upload", tmp_path / "a.png", "image/png"))


def test_fields_of_a_newer_api_are_ignored(ask: Ask, make_job: MakeJob) -> None:
    job = make_job(num_chunks=1).model_dump(mode="json")
    newer = {"priority": 3, "progress": job["progress"] | {"watts": 300}, "links": job["links"] | {"retry": "?"}}
    newer["chunks"] = [chunk(0).model_dump(mode="json") | {"loudness": -23}]
    newer["request"] = job["request"] | {"lens": "wide"}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(202 if request.method == "POST" else 200, json=job | newer)

    for read in ask(answer, ("create_job", {}), ("get_job", "job_x"), ("cancel_job", "job_x")):
        assert (read.id, read.progress.chunks_done, len(read.chunks)) == (job["id"], 1, 1)


def test_an_unreadable_answer_of_a_newer_api_is_one_sentence(ask: Ask, make_job: MakeJob) -> None:
    job = make_job().model_dump(mode="json") | {"status": "paused"}
    unread = r"http://api\.test answers what this longtake cannot read: status"
    with pytest.raises(ApiUnreadable, match=unread) as error:
        ask(lambda _: httpx.Response(200, json=job), ("get_job", "job_x"))
    assert "version" in (error.value.fix or "")


def test_an_answer_that_is_no_json_is_one_sentence(ask: Ask) -> None:
    with pytest.raises(ApiUnreadable, match="the body"):
        ask(lambda _: httpx.Response(200, text="<html>"), ("get_job", "job_x"))


def test_an_object_storage_that_is_down_is_not_taken_for_the_api(ask: Ask, tmp_path: Path) -> None:
    target = {"id": "upl_x", "method": "PUT", "url": "http://s3.test:9000/uploads/upl_x?secret=1", "headers": {}}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "api.test" and request.method == "POST":
            return httpx.Response(201, json=target)
        if request.url.host == "api.test":
            return httpx.Response(307, headers={"location": "http://s3.test:9000/jobs/video.mp4?secret=1"})
        raise httpx.ConnectError("Connection refused", request=request)

    file = tmp_path / "clip.mp4"
    file.write_bytes(b"abc")
    for call in (
        ("upload", file, "video/mp4"),
        ("fetch", "http://s3.test:9000/jobs/chunk.mp4?secret=1"),
        ("download", "http://api.test/jobs/job_x/video", tmp_path / "video.mp4"),
    ):
        with pytest.raises(StorageUnreachable) as error:
            ask(answer, call)
        assert "object storage at s3.test:9000" in error.value.message
        assert "longtake up" not in (error.value.fix or "")
        assert "secret" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_wait_returns_the_ended_job_and_gives_up_in_time(ask: Ask, make_job: MakeJob) -> None:
    views = iter([make_job(), make_job(num_chunks=1), make_job(JobStatus.FAILED)])
    (job,) = ask(lambda _: httpx.Response(200, text=next(views).model_dump_json()), ("wait", "job_x"))
    assert job.status is JobStatus.FAILED
    with pytest.raises(WaitTimeout, match="still running"):
        ask(lambda _: httpx.Response(200, text=make_job().model_dump_json()), ("wait", "job_x", 0))
