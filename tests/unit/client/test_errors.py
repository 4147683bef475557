"""Error answers, and answers that are none, as exceptions."""

from __future__ import annotations

import httpx
import pytest

from client import (
    ApiError,
    ApiUnreachable,
    ApiUnreadable,
    Conflict,
    Forbidden,
    InvalidRequest,
    KeyRefused,
    LimitReached,
    NotFound,
    ServiceUnavailable,
)
from tests.helpers.shown_jobs import MakeJob, chunk
from tests.unit.client.conftest import TOO_FEW, Ask, Use


def test_a_problem_becomes_an_error_with_all_its_parts(ask: Ask) -> None:
    headers = {"content-type": "application/problem+json", "retry-after": "3", "x-request-id": "trace-7"}
    with pytest.raises(InvalidRequest) as raised:
        ask(lambda _: httpx.Response(422, json=TOO_FEW, headers=headers), lambda client: client.jobs.create({}))
    error = raised.value
    assert (error.status, error.code, error.field, error.fix) == (422, "too_few_frames", "num_frames", TOO_FEW["fix"])
    assert (error.retry_after_seconds, error.request_id) == (3, "trace-7")
    assert str(error) == "num_frames: 5 is too few"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, KeyRefused),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, InvalidRequest),
        (429, LimitReached),
        (500, ApiError),
        (503, ServiceUnavailable),
    ],
)
def test_each_status_has_its_class(ask: Ask, status: int, kind: type[ApiError]) -> None:
    with pytest.raises(ApiError) as raised:
        ask(lambda _: httpx.Response(status, json={"code": "some_code"}), lambda client: client.jobs.get("job_x"))
    assert type(raised.value) is kind
    assert raised.value.code == "some_code"


@pytest.mark.parametrize("response", [httpx.Response(502, text="<html>"), httpx.Response(502, json=[1])])
def test_an_answer_of_a_proxy_is_named_by_its_status(ask: Ask, response: httpx.Response) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(502, headers=response.headers, content=response.content)

    with pytest.raises(ServiceUnavailable, match="HTTP 502") as raised:
        ask(answer, lambda client: client.models.list())
    assert (raised.value.code, raised.value.retry_after_seconds) == (None, None)


def test_a_service_that_is_down_is_named(ask: Ask, make_job: MakeJob) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    down = r"http://api\.test does not answer"
    with pytest.raises(ApiUnreachable, match=down):
        ask(answer, lambda client: client.fetch("/jobs/job_x/chunks/0.mp4"))
    uses: list[Use] = [lambda job: job.refresh(), lambda job: job.events(), lambda job: job.follow()]
    for use in uses:
        with pytest.raises(ApiUnreachable, match=down):
            ask(answer, use, job=make_job())
    assert ask(answer, lambda client: client.is_ready()) == [False]


def test_events_of_an_unknown_job_are_not_found(ask: Ask, make_job: MakeJob) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"code": "job_not_found", "title": "No such job."})

    with pytest.raises(NotFound) as raised:
        ask(answer, lambda job: job.events(), job=make_job())
    assert (raised.value.code, raised.value.message) == ("job_not_found", "No such job.")


def test_fields_of_a_newer_api_are_ignored(ask: Ask, make_job: MakeJob) -> None:
    job = make_job(num_chunks=1).model_dump(mode="json")
    newer = {"priority": 3, "progress": job["progress"] | {"watts": 300}, "links": job["links"] | {"retry": "?"}}
    newer["chunks"] = [chunk(0).model_dump(mode="json") | {"loudness": -23}]
    newer["request"] = job["request"] | {"lens": "wide"}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(202 if request.method == "POST" else 200, json=job | newer)

    uses: list[Use] = [lambda client: client.jobs.create(prompt="x"), lambda client: client.jobs.get("job_x")]
    for read in ask(answer, *uses):
        assert (read.id, read.progress.chunks_done, len(read.chunks)) == (job["id"], 1, 1)


def test_an_unreadable_answer_of_a_newer_api_is_one_sentence(ask: Ask, make_job: MakeJob) -> None:
    job = make_job().model_dump(mode="json") | {"status": "paused"}
    unread = r"http://api\.test answers what this longtake cannot read: status"
    with pytest.raises(ApiUnreadable, match=unread) as error:
        ask(lambda _: httpx.Response(200, json=job), lambda client: client.jobs.get("job_x"), max_retries=2)
    assert "version" in (error.value.fix or "")


def test_an_answer_that_is_no_json_is_one_sentence(ask: Ask) -> None:
    with pytest.raises(ApiUnreadable, match="the body"):
        ask(lambda _: httpx.Response(200, text="<html>"), lambda client: client.jobs.get("job_x"))


@pytest.mark.parametrize("message", ["limit is below 1", "below 1"])
def test_an_error_names_its_field_once(message: str) -> None:
    assert str(ApiError(message, status=422, field="limit")).count("limit") == 1
