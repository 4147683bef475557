"""The application as a server sees it: built without connections, stopped by signals."""

import signal
from collections.abc import Generator
from types import FrameType

import pytest
from fastapi.testclient import TestClient

from api.app import called_on_stop_signals, create_app
from core.service.settings import Settings


def test_the_app_starts_without_any_server() -> None:
    unreachable = Settings(redis_url="redis://127.0.0.1:1/0", s3_endpoint_url="http://127.0.0.1:1")
    with TestClient(create_app(unreachable)) as api:
        assert api.get("/healthz").status_code == 200


@pytest.fixture
def calls() -> Generator[list[str]]:
    """In place of the server's own signal handler; the order of calls."""
    calls = list[str]()

    def handle(number: int, _frame: FrameType | None) -> None:
        calls.append(f"server {signal.Signals(number).name}")

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    yield calls
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_streams_are_stopped_before_the_server(calls: list[str], number: signal.Signals) -> None:
    with called_on_stop_signals(lambda: calls.append("streams")):
        signal.raise_signal(number)
    assert calls == ["streams", f"server {number.name}"]


def test_the_servers_handlers_are_put_back(calls: list[str]) -> None:
    with called_on_stop_signals(lambda: calls.append("streams")):
        pass
    signal.raise_signal(signal.SIGTERM)
    assert calls == ["server SIGTERM"]


def test_people_find_a_page_that_leads_to_the_documentation(api: TestClient) -> None:
    page = api.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert 'href="docs"' in page.text
    assert api.get("/docs").status_code == 200
