"""Bodies above 64 KiB: decoded in a thread, and only if they have few values."""

from __future__ import annotations

import threading

import pytest
from fastapi.testclient import TestClient

from api.http import responses
from api.http.responses import MAX_BODY_BYTES
from tests.helpers.api_world import PROMPT

JSON = {"Content-Type": "application/json"}
MANY_VALUES = b'{"prompt": "a", "values": [' + b"{}," * MAX_BODY_BYTES + b"0]}"


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the threads that decode JSON."""
    seen = set[str]()
    parse = responses.parse_json

    def parse_json(text: str) -> object:
        seen.add(threading.current_thread().name)
        return parse(text)

    monkeypatch.setattr(responses, "parse_json", parse_json)
    return seen


def test_a_large_body_of_many_values_is_refused_before_it_is_decoded(api: TestClient, threads: set[str]) -> None:
    answer = api.post("/v1/videos", content=MANY_VALUES, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert not threads


def test_a_batch_of_many_values_is_refused_too(api: TestClient, threads: set[str]) -> None:
    answer = api.post("/jobs/batch", content=b'{"jobs": [' + b"{}," * 200_000 + b"0]}", headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert not threads


@pytest.mark.parametrize(("path", "body"), [("/v1/videos", '{"prompt": %s}'), ("/jobs/batch", '{"jobs": [%s]}')])
def test_a_large_body_is_decoded_off_the_event_loop(api: TestClient, threads: set[str], path: str, body: str) -> None:
    api.post(path, content=body % '"a"', headers=JSON)
    (event_loop,) = threads
    threads.clear()
    api.post(path, content=body % f'"{"a" * MAX_BODY_BYTES}"', headers=JSON)
    assert threads
    assert event_loop not in threads


def test_a_full_batch_is_no_body_of_many_values(api: TestClient) -> None:
    job = {"prompt": PROMPT, "metadata": {f"k{number}": "v" for number in range(10)}}
    answer = api.post("/jobs/batch", json={"jobs": [job] * 100})
    assert {result["status"] for result in answer.json()["results"]} <= {202, 503}
