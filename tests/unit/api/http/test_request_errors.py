"""Clients that leave, and bugs: one line in the log each; a bug reveals nothing to the client."""

import asyncio
import logging
from collections.abc import Iterable

import pytest
from anyio import BrokenResourceError, ClosedResourceError
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from api.http.request_errors import ErrorBoundary
from core.service.domain.schema import JobRecord
from core.service.testing.job_store import FakeJobStore
from tests.helpers.api_world import World, submit


def asked(api: TestClient, method: str, path: str, messages: Iterable[Message]) -> list[Message]:
    """What the application sends after it receives these messages and then a disconnect."""
    sent, coming = list[Message](), iter(messages)
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "asgi": {"spec_version": "2.3"}, "http_version": "1.1", "scheme": "http", "root_path": ""}
    scope |= {"method": method, "path": path, "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1)}

    async def receive() -> Message:
        return next(coming, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        sent.append(message)

    async def whole() -> None:
        await api.app(scope, receive, send)

    asyncio.run(whole())
    return sent


def test_a_client_that_leaves_within_its_body_is_one_line_and_no_error(
    api: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    part = {"type": "http.request", "body": b'{"prompt": ', "more_body": True}
    assert asked(api, "POST", "/jobs", [part]) == []
    (line,) = [record for record in caplog.records if record.name.startswith("api")]
    assert (line.levelname, line.message, line.exc_info) == (
        "INFO",
        "POST /jobs: the client disconnected (ClientDisconnect)",
        None,
    )


def test_a_client_that_leaves_an_event_stream_ends_it_without_a_word(
    api: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = submit(api)
    whole = {"type": "http.request", "body": b"", "more_body": False}
    asked(api, "GET", f"/jobs/{job_id}/events", [whole])
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (BrokenResourceError(), "INFO"),
        (ConnectionResetError(), "INFO"),
        (ExceptionGroup("two tasks", [BrokenResourceError(), ClosedResourceError()]), "INFO"),
        (ExceptionGroup("two tasks", [BrokenResourceError(), KeyError()]), "ERROR"),
        (KeyError("a bug"), "ERROR"),
    ],
)
def test_errors_after_a_client_left_are_no_bugs_and_all_others_are(
    api: TestClient, error: Exception, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def route(_scope: Scope, receive: Receive, _send: Send) -> None:
        assert (await receive())["type"] == "http.disconnect"
        raise error

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None: ...

    asyncio.run(ErrorBoundary(route)({"type": "http", "method": "GET", "path": "/x", "app": api.app}, receive, send))
    assert [record.levelname for record in caplog.records if record.name == "api.http.request_errors"] == [level]


class BrokenStore(FakeJobStore):
    """Has a bug."""

    def get(self, job_id: str) -> JobRecord:
        raise RuntimeError(f"secret of {job_id}")


def test_a_bug_is_logged_once_and_answered_to_any_origin_that_may_read(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.store = BrokenStore(world.clock)
    with world.client() as api:
        answer = api.get("/jobs/job_a/video", headers={"Origin": "https://app.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (500, "*")
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_a_path_cannot_write_lines_into_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.store = BrokenStore(world.clock)
    with world.client() as api:
        api.get("/jobs/a%C2%85ERROR all is lost%C2%9b31m")
    (line,) = [record.message for record in caplog.records if record.name == "api.http.request_errors"]
    assert line == "GET /jobs/a\\x85ERROR all is lost\\x9b31m"
