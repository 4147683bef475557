"""Uploads and downloads: whole or absent, and taken up where a connection was cut."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from client import ApiUnreachable, ClientError, Forbidden, NotFound, StorageUnreachable
from client.files import PIECE_BYTES
from core.service.domain.schema import JobStatus
from tests.helpers.shown_jobs import MakeJob
from tests.unit.client.conftest import Ask, Use

VIDEO = bytes(range(200)) * 10


class CutBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that breaks off."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        yield self._data
        raise httpx.ReadError("connection reset")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._data
        raise httpx.ReadError("connection reset")


class Media:
    """Serves VIDEO with ranges. Each entry of `cuts` is how many bytes of one answer arrive."""

    def __init__(self, *cuts: int, etags: tuple[str, ...] = (), has_ranges: bool = True) -> None:
        self.ranges = list[str | None]()
        self._cuts = iter(cuts)
        self._etags = iter(etags)
        self._has_ranges = has_ranges

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.ranges.append(request.headers.get("range"))
        asked = self.ranges[-1] if self._has_ranges else None
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        headers = {"etag": next(self._etags, '"one"'), "content-length": str(len(VIDEO) - begin)}
        if asked:
            headers["content-range"] = f"bytes {begin}-{len(VIDEO) - 1}/{len(VIDEO)}"
        cut = next(self._cuts, None)
        status = 206 if asked else 200
        if cut is None:
            return httpx.Response(status, headers=headers, content=VIDEO[begin:])
        return httpx.Response(status, headers=headers, stream=CutBody(VIDEO[begin : begin + cut]))


def test_a_cut_download_goes_on_where_it_ended(ask: Ask, tmp_path: Path) -> None:
    media, shown = Media(700, 500), list[tuple[int, int]]()

    def on_bytes(done: int, total: int) -> None:
        shown.append((done, total))

    ask(media, lambda client: client.download("/v.mp4", tmp_path / "v.mp4", on_bytes), max_retries=1)
    assert (tmp_path / "v.mp4").read_bytes() == VIDEO
    assert media.ranges == [None, "bytes=700-", "bytes=1200-"]
    assert shown == [(700, 2000), (1200, 2000), (2000, 2000)]


def test_a_cut_download_begins_again_where_the_answer_is_the_whole_file(ask: Ask, tmp_path: Path) -> None:
    media = Media(700, has_ranges=False)
    ask(media, lambda client: client.download("/v.mp4", tmp_path / "v.mp4"), max_retries=1)
    assert (tmp_path / "v.mp4").read_bytes() == VIDEO
    assert media.ranges == [None, "bytes=700-"]


def test_the_rest_of_other_bytes_is_not_appended(ask: Ask, tmp_path: Path) -> None:
    media = Media(700, etags=('"one"', '"two"', '"two"'))
    ask(media, lambda client: client.download("/v.mp4", tmp_path / "v.mp4"), max_retries=2)
    assert (tmp_path / "v.mp4").read_bytes() == VIDEO
    assert media.ranges == [None, "bytes=700-", None]


def test_a_download_that_gets_nowhere_ends_and_leaves_nothing(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(ApiUnreachable):
        ask(Media(0, 0, 0, 0), lambda client: client.download("/v.mp4", tmp_path / "v.mp4"), max_retries=2)
    assert list(tmp_path.iterdir()) == []


def test_the_video_is_saved_when_the_job_has_ended(ask: Ask, make_job: MakeJob, tmp_path: Path) -> None:
    views = iter([make_job(), make_job(JobStatus.SUCCEEDED, 3)])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(503, json={"code": "too_many_streams"})
        if request.url.path == "/jobs/job_x/video.mp4":
            assert request.url.query == b"variant=refined"
            return httpx.Response(307, headers={"location": "http://s3.test/video.mp4"})
        if request.url.host == "s3.test":
            return httpx.Response(200, content=b"bytes")
        return httpx.Response(200, text=next(views).model_dump_json())

    (path,) = ask(answer, lambda job: job.save(tmp_path / "a.mp4", "refined"), job=make_job())
    assert path == tmp_path / "a.mp4"
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.mp4", b"bytes")]


def test_a_refused_download_leaves_nothing(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        ask(lambda _: httpx.Response(404), lambda client: client.download("/nothing", tmp_path / "b.mp4"))
    assert list(tmp_path.iterdir()) == []


def test_an_upload_is_declared_then_sent_where_the_answer_says_again_if_it_is_cut(ask: Ask, tmp_path: Path) -> None:
    clip, sent, shown = tmp_path / "clip.mp4", list[httpx.Request](), list[tuple[int, int]]()
    size = PIECE_BYTES + 5
    clip.write_bytes(b"x" * size)

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        headers = {"content-type": "video/mp4", "content-length": str(size)}
        target = {"id": "upl_a", "method": "PUT", "url": "http://s3.test/uploads/upl_a?sig=1", "headers": headers}
        if len(sent) == 2:
            raise httpx.WriteError("connection reset", request=request)
        return httpx.Response(201, json=target) if request.method == "POST" else httpx.Response(200)

    def on_bytes(done: int, total: int) -> None:
        shown.append((done, total))

    assert ask(answer, lambda client: client.uploads.create(clip, on_bytes=on_bytes), max_retries=1) == ["upl_a"]
    declared, _, put = sent
    assert json.loads(declared.content) == {"content_type": "video/mp4", "size_bytes": size}
    assert str(put.url) == "http://s3.test/uploads/upl_a?sig=1"
    assert put.headers["content-length"] == str(len(put.content)) == str(size)
    assert "transfer-encoding" not in put.headers
    assert shown[-2:] == [(PIECE_BYTES, size), (size, size)]


def test_a_file_whose_name_says_nothing_needs_a_content_type(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(b"x")
    with pytest.raises(ClientError, match="does not say what the file is"):
        ask(lambda _: httpx.Response(500), lambda client: client.uploads.create(tmp_path / "clip"))


def test_a_storage_that_refuses_the_file_is_named_without_the_signature(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")

    def answer(request: httpx.Request) -> httpx.Response:
        target = {"id": "upl_a", "method": "PUT", "url": "http://s3.test/u?sig=1", "headers": {"content-length": "1"}}
        return httpx.Response(201, json=target) if request.method == "POST" else httpx.Response(403, text="<Error/>")

    with pytest.raises(Forbidden, match=r"HTTP 403 from http://s3\.test/u$"):
        ask(answer, lambda client: client.uploads.create(tmp_path / "a.png"))


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
    uses: list[Use] = [
        lambda client: client.uploads.create(file),
        lambda client: client.fetch("http://s3.test:9000/jobs/chunk.mp4?secret=1"),
        lambda client: client.download("http://api.test/jobs/job_x/video", tmp_path / "video.mp4"),
    ]
    for use in uses:
        with pytest.raises(StorageUnreachable) as error:
            ask(answer, use)
        assert "object storage at s3.test:9000" in error.value.message
        assert "longtake up" not in (error.value.fix or "")
        assert "secret" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
