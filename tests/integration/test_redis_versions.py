"""The oldest Redis that is supported, and that of Debian 13: the contracts of all that is in Redis, and a job from POST
to succeeded. `python -m tests.redis_versions` runs more tests on more servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from core.service.domain.ports import Pauses
from core.service.redis.client import connect
from core.service.redis.job_store import RedisJobStore
from core.service.redis.pauses import RedisPauses
from core.service.testing.clock import FakeClock
from tests.helpers.pauses_contract import PausesContract
from tests.helpers.presets import write_fake_preset
from tests.helpers.redis_programs import program_of
from tests.helpers.redis_server import RedisServer
from tests.helpers.schedule_contract import Queue, ScheduleContract
from tests.helpers.service import running_service
from tests.helpers.store_contract.contract import StoreContract
from tests.helpers.store_contract.ports import StorePorts
from tests.integration.test_store_contract import ports_on  # the same ports on another server
from tests.redis_versions.servers import DEBIAN_13, OLDEST

LOGIN = "longtake:secret@"


@pytest.fixture(scope="module", params=[OLDEST, DEBIAN_13], ids=lambda source: source.name)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    program = program_of(request.param)
    with RedisServer(tmp_path_factory.mktemp("redis"), "--save", "", program=program) as running:
        with running.client() as client:
            version = str(client.info("server")["redis_version"])
            assert version.startswith(request.param.name.partition("-")[2])
        yield running


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with connect(server.url()) as client:
        client.flushall()
        yield client


@pytest.fixture
def ports(client: redis.Redis) -> StorePorts:
    return ports_on(client)


@pytest.fixture
def pauses(client: redis.Redis) -> Pauses:
    return RedisPauses(client)


@pytest.fixture
def queue(client: redis.Redis) -> Queue:
    clock = FakeClock()
    return Queue(RedisJobStore(client, clock, retention_seconds=3600), clock)


class TestStores(StoreContract):
    """Records, logs, outbox, workers, uploads."""


class TestSchedule(ScheduleContract):
    """Who is next."""


class TestPauses(PausesContract):
    """What is paused."""


def test_a_job_runs_from_its_request_to_its_video(server: RedisServer, tmp_path: Path) -> None:
    """As a user without the commands that managed offers keep to themselves (CONFIG, KEYS, INFO, FLUSHALL, ...)."""
    with server.client() as client:
        client.flushall()
        client.execute_command("ACL", "SETUSER", "longtake", "on", ">secret", "~*", "&*", "+@all", "-@dangerous")
    write_fake_preset(tmp_path / "presets", "fake")
    urls = {"redis_url": server.url(0, LOGIN), "broker_url": server.url(1, LOGIN)}
    with running_service(tmp_path, tmp_path / "presets", default_model="fake", **urls) as service:
        service.start_workers("fake")
        job = service.submit(prompt="a square", num_frames=32)
        service.wait_for_success(job.id)
        assert service.video(job.id)
