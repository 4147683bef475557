"""`api`: an API that the commands talk to, which answers with a job and keeps what it was asked."""

from __future__ import annotations

import functools
import json

import httpx
import pytest

import client
from tests.helpers.shown_jobs import MakeJob


class Api:
    """`answers` has bodies, or whole answers, by method and path, instead of the job."""

    def __init__(self, make_job: MakeJob) -> None:
        self.asked = list[tuple[str, str, object]]()
        self.keys = list[str | None]()
        self.answers: dict[tuple[str, str], object] = {("GET", "/models"): {"models": [], "default_model": "sprites"}}
        self.job = make_job().model_dump(mode="json")

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.asked.append((request.method, request.url.raw_path.decode(), body))
        self.keys.append(request.headers.get("authorization"))
        answer = self.answers.get((request.method, request.url.path))
        if isinstance(answer, httpx.Response):
            return answer
        if isinstance(answer, bytes):
            return httpx.Response(200, content=answer)
        acts_from = 32 if isinstance(body, dict) and "prompt" in body else None
        return httpx.Response(200, json={**self.job, "acts_from_frame": acts_from} if answer is None else answer)


@pytest.fixture
def api(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> Api:
    answering = Api(make_job)
    transport = httpx.MockTransport(answering)
    monkeypatch.setattr(client, "Longtake", functools.partial(client.Longtake, transport=transport))
    return answering
