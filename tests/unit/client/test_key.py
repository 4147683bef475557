"""The API key goes to the API, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.helpers.shown_jobs import MakeJob
from tests.unit.client.conftest import Ask

KEY = "lt_secret"


def test_every_request_to_the_api_has_the_key(ask: Ask, make_job: MakeJob) -> None:
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200, text=make_job().model_dump_json())

    ask(
        answer,
        lambda client: client.jobs.get("job_x"),
        lambda client: client.fetch("/jobs/job_x/chunks/0.mp4"),
        key=KEY,
    )
    ask(answer, lambda client: client.jobs.get("job_x"))
    assert seen == [f"Bearer {KEY}", f"Bearer {KEY}", None]


def test_the_key_is_not_sent_to_storages_and_cdns(ask: Ask, tmp_path: Path) -> None:
    seen = dict[str, str | None]()

    def answer(request: httpx.Request) -> httpx.Response:
        seen[f"{request.url.host}{request.url.path}"] = request.headers.get("authorization")
        if request.url.host != "api.test":
            return httpx.Response(200, content=b"bytes")
        if request.method == "POST":
            target = {"id": "upl_a", "method": "PUT", "url": "http://s3.test/upload", "headers": {}}
            return httpx.Response(201, json=target)
        return httpx.Response(307, headers={"location": "http://s3.test/video"})

    (tmp_path / "a.png").write_bytes(b"x")
    ask(
        answer,
        lambda client: client.uploads.create(tmp_path / "a.png"),
        lambda client: client.fetch("http://cdn.test/chunk.mp4"),
        lambda client: client.download("/jobs/job_x/video.mp4", tmp_path / "video.mp4"),
        key=KEY,
    )
    assert {place for place, sent in seen.items() if sent} == {"api.test/uploads", "api.test/jobs/job_x/video.mp4"}
    assert {place for place, sent in seen.items() if not sent} == {
        "s3.test/upload",
        "s3.test/video",
        "cdn.test/chunk.mp4",
    }
