"""One running service for most integration tests; those that break parts of it start their own.

Real Redis, S3 server, API and worker processes. The machinery is tested with the fake engine (a bouncing square, no
torch): `fake` makes a chunk in no time, `slow` takes 0.8 s, long enough to observe or interrupt it, `endless` never
finishes one within a test. The real networks run in test_sprites.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import kombu.pools
import pytest
import redis
from huggingface_hub import close_session
from playwright.sync_api import Browser

from cli.processes.embedded import EmbeddedRedis
from core.service.redis.client import connect
from core.service.settings import SHIPPED_PRESETS_DIR
from tests.helpers.browser import chromium
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service
from tests.helpers.web_page import Opened, opened
from tests.helpers.webhook_receiver import WebhookReceiver, receiving_webhooks

LONGEST = (
    *("sprites_run", "engines_served", "api_page", "clips_run", "hub", "sprites", "readme", "worker_outages", "chaos"),
    *("ablation", "openapi_contract", "delivery", "command_line", "refinement_networks", "web_make", "event_streams"),
    *("recovery", "endless", "web_watch", "web_steer", "creating", "command", "web_room", "continuing", "job_life"),
    *("web_metrics", "measuring", "hub_processes", "hub_sources", "training_processes", "killed_runs", "conversion"),
)
"""Files that take minutes. They begin first, so that none of them is waited for alone in the end."""
SLOW_STEPS = 8
SLOW_STEP_SECONDS = 0.1


def write_presets(folder: Path) -> Path:
    """`broken` is one that the API can read and no worker can load: it has no networks."""
    for part in ("tokenizer/tokenizer.json", "preset.json"):
        (folder / "broken" / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SHIPPED_PRESETS_DIR / "sprites" / part, folder / "broken" / part)
    write_fake_preset(folder, "endless", steps=5000, step_seconds=0.1)
    write_fake_preset(folder, "fake")
    write_fake_preset(folder, "refinable", steps=6, refiner=True)
    write_fake_preset(folder, "slow", steps=SLOW_STEPS, step_seconds=SLOW_STEP_SECONDS)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    files = [f"test_{name}.py" for name in LONGEST]
    items.sort(key=lambda item: files.index(item.path.name) if item.path.name in files else len(files))


def pytest_sessionfinish() -> None:
    """Close the connections that libraries keep in globals, which otherwise end with the process."""
    kombu.pools.reset()
    close_session()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The whole service with a worker for each of `fake`, `slow` and `endless`, and a CPU worker. Do not break it."""
    folder = tmp_path_factory.mktemp("service")
    with running_service(folder, write_presets(folder / "presets"), default_model="fake") as service:
        service.start_workers("fake", "slow", "endless")
        yield service


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A Redis alone, of the test's module."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def client(redis_server: EmbeddedRedis) -> Iterator[redis.Redis]:
    """A client of `redis_server`, which is empty."""
    with connect(redis_server.url()) as client:
        client.flushall()
        yield client


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Service]:
    """A service of the test's own, to be broken: servers and API run, workers do not."""
    with running_service(tmp_path, write_presets(tmp_path / "presets"), default_model="fake") as service:
        yield service


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with receiving_webhooks() as receiver:
        yield receiver


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the processes wrote last."""
    report = yield
    if report.failed and call.when != "teardown" and isinstance(item, pytest.Function):
        for name in ("service", "own_service", "sprites"):
            if isinstance(running := item.funcargs.get(name), Service):
                report.sections.append((f"logs of {name}", running.logs()))
    return report


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def web(browser: Browser, service: Service) -> Iterator[Opened]:
    """A page of the service, in which nothing goes wrong, or the test fails."""
    with opened(browser, str(service.http.base_url)) as web:
        yield web
