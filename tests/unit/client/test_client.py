"""The HTTP client against a transport that answers as the API does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from client.client import (
    UPLOAD_PIECE_BYTES,
    ApiRefused,
    ApiUnreachable,
    ApiUnreadable,
    Client,
    ServerEvent,
    StorageUnreachable,
    parse_events,
)
from core.service.domain.schema import JobStatus
from tests.helpers.shown_jobs import MakeJob


def client_of(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client("http://api.test", transport=httpx.MockTransport(answer))


def test_an_unchanged_job_is_taken_from_memory_on_304(make_job: MakeJob) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers.get("if-none-match") == '"one"':
            return httpx.Response(304)
        return httpx.Response(200, text=make_job().model_dump_json(), headers={"etag": '"one"'})

    with client_of(answer) as client:
        assert client.job("job_x") == client.job("job_x")


def test_a_problem_is_told_in_the_api_s_own_words() -> None:
    problem = {"code": "too_few_frames", "detail": "num_frames is 5", "field": "num_frames", "fix": "give at least 16"}

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(422, json=problem, headers={"content-type": "application/problem+json"})

    with client_of(answer) as client, pytest.raises(ApiRefused, match="num_frames is 5") as refused:
        client.submit({})
    assert refused.value.fix == "give at least 16"


def test_an_answer_of_a_proxy_is_told_by_its_status() -> None:
    with client_of(lambda _: httpx.Response(502, text="<html>")) as client, pytest.raises(ApiRefused, match="HTTP 502"):
        client.models()


def test_a_service_that_is_down_is_named() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    with client_of(answer) as client, pytest.raises(ApiUnreachable, match=r"http://api\.test does not answer"):
        client.job("job_x")


def test_events_resume_after_the_last_one_seen() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        last = request.headers.get("last-event-id", "none")
        return httpx.Response(200, text=f": hello\nretry: 1000\n\nid: 7-0\nevent: job.started\ndata: {last}\n\n")

    with client_of(answer) as client:
        assert list(client.events("job_x", after="6-0")) == [ServerEvent("7-0", "job.started", "6-0")]


def test_event_data_of_several_lines_is_joined() -> None:
    lines = iter(["data: a", "data:b", "", ": comment", ""])
    assert list(parse_events(lines)) == [ServerEvent("", "message", "a\nb")]


def test_a_download_follows_the_redirect_and_is_whole_or_absent(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/video":
            return httpx.Response(307, headers={"location": "http://s3.test/video.mp4"})
        return httpx.Response(200, content=b"bytes") if request.url.path == "/video.mp4" else httpx.Response(404)

    with client_of(answer) as client:
        client.download("http://api.test/video", tmp_path / "a.mp4")
        with pytest.raises(ApiRefused):
            client.download("http://api.test/nothing", tmp_path / "b.mp4")
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_cancel_returns_the_job(make_job: MakeJob) -> None:
    canceling = make_job(JobStatus.CANCELING).model_dump_json()
    with client_of(lambda _: httpx.Response(202, text=canceling)) as client:
        assert client.cancel("job_x").status is JobStatus.CANCELING


def test_an_upload_is_declared_then_sent_where_the_answer_says(tmp_path: Path) -> None:
    clip, sent, shown = tmp_path / "clip.mp4", dict[str, httpx.Request](), list[tuple[int, int]]()
    clip.write_bytes(b"x" * (UPLOAD_PIECE_BYTES + 5))

    def answer(request: httpx.Request) -> httpx.Response:
        sent[request.method] = request
        headers = {"content-type": "video/mp4", "content-length": str(UPLOAD_PIECE_BYTES + 5)}
        target = {"id": "upl_a", "method": "PUT", "url": "http://s3.test/uploads/upl_a?sig=1", "headers": headers}
        return httpx.Response(201, json=target) if request.method == "POST" else httpx.Response(200)

    with client_of(answer) as client:
        assert client.upload(clip, "video/mp4", lambda done, total: shown.append((done, total))) == "upl_a"
    assert json.loads(sent["POST"].content) == {"content_type": "video/mp4", "size_bytes": UPLOAD_PIECE_BYTES + 5}
    assert str(sent["PUT"].url) == "http://s3.test/uploads/upl_a?sig=1"
    assert sent["PUT"].headers["content-length"] == str(len(sent["PUT"].content)) == str(UPLOAD_PIECE_BYTES + 5)
    assert "transfer-encoding" not in sent["PUT"].headers
    assert shown == [(UPLOAD_PIECE_BYTES, UPLOAD_PIECE_BYTES + 5), (UPLOAD_PIECE_BYTES + 5, UPLOAD_PIECE_BYTES + 5)]


def test_a_storage_that_refuses_the_file_is_told_without_the_signature(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")

    def answer(request: httpx.Request) -> httpx.Response:
        target = {"id": "upl_a", "method": "PUT", "url": "http://s3.test/u?sig=1", "headers": {"content-length": "1"}}
        return httpx.Response(201, json=target) if request.method == "POST" else httpx.Response(403, text="<Error/>")

    with client_of(answer) as client, pytest.raises(ApiRefused, match=r"HTTP 403 from http://s3\.test/u$"):
        client.upload(tmp_path / "a.png", "image/png", lambda _done, _total: None)


def test_fields_of_a_newer_api_are_ignored(make_job: MakeJob) -> None:
    told = make_job(num_chunks=1).model_dump(mode="json")
    newer = {"priority": 3, "progress": told["progress"] | {"watts": 300}, "links": told["links"] | {"retry": "?"}}
    newer["chunks"] = [told["chunks"][0] | {"loudness": -23}]
    newer["request"] = told["request"] | {"lens": "wide"}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(202 if request.method == "POST" else 200, json=told | newer)

    with client_of(answer) as client:
        for job in (client.submit({}), client.job("job_x"), client.cancel("job_x")):
            assert (job.id, job.progress.chunks_done, job.chunks[0].index) == ("job_x", 1, 0)


def test_what_cannot_be_read_of_a_newer_api_is_one_sentence(make_job: MakeJob) -> None:
    told = make_job().model_dump(mode="json") | {"status": "paused"}
    unread = r"http://api\.test answers what this longtake cannot read: status"
    with (
        client_of(lambda _: httpx.Response(200, json=told)) as client,
        pytest.raises(ApiUnreadable, match=unread) as error,
    ):
        client.job("job_x")
    assert "version" in error.value.with_fix


def test_an_answer_that_is_no_json_is_one_sentence() -> None:
    with client_of(lambda _: httpx.Response(200, text="<html>")) as client, pytest.raises(ApiUnreadable):
        client.job("job_x")


def test_an_object_storage_that_is_down_is_not_taken_for_the_api(tmp_path: Path) -> None:
    target = {"id": "upl_x", "method": "PUT", "url": "http://s3.test:9000/uploads/upl_x?secret=1", "headers": {}}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "api.test" and request.method == "POST":
            return httpx.Response(201, json=target)
        if request.url.host == "api.test":
            return httpx.Response(307, headers={"location": "http://s3.test:9000/jobs/video.mp4?secret=1"})
        raise httpx.ConnectError("Connection refused", request=request)

    file = tmp_path / "clip.mp4"
    file.write_bytes(b"abc")
    calls: list[Callable[[Client], object]] = [
        lambda client: client.upload(file, "video/mp4", lambda _done, _total: None),
        lambda client: client.fetch("http://s3.test:9000/jobs/chunk.mp4?secret=1"),
        lambda client: client.download("http://api.test/jobs/job_x/video", tmp_path / "video.mp4"),
    ]
    for call in calls:
        with client_of(answer) as client, pytest.raises(StorageUnreachable) as error:
            call(client)
        assert "object storage at s3.test:9000" in error.value.message
        assert "longtake up" not in error.value.with_fix
        assert "secret" not in error.value.with_fix
