"""A Redis with a replica behind Sentinels, whose master a test kills."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import redis
from redis.exceptions import ConnectionError as RedisConnectionError

from cli.processes.machine import LOOPBACK, free_port
from tests.helpers.deadline import eventually
from tests.helpers.redis_server import RedisServer


@dataclass
class Watched:
    """A master, its replica, and the Sentinels that watch over them."""

    master: RedisServer
    replica: RedisServer
    sentinels: Sequence[RedisServer]

    def url(self, database: int) -> str:
        """Names a Sentinel that is not there first."""
        places = [f"{LOOPBACK}:{port}" for port in (free_port(), *(sentinel.port for sentinel in self.sentinels))]
        return f"sentinel://{','.join(places)}/{database}?master=main"

    def fail_over(self) -> None:
        self.master.kill()

        def promoted() -> bool:
            with self.replica.client() as client:
                try:
                    return client.info("replication")["role"] == "master"
                except RedisConnectionError:  # Sentinel hangs up on all clients as it turns the roles
                    return False

        eventually(promoted, "the replica to take over", seconds=60)


@contextmanager
def watched_redis(folder: Path, sentinels: int = 1) -> Generator[Watched]:
    """Most of the Sentinels must agree that the master is gone, for which it must be silent for a second."""
    quorum = sentinels // 2 + 1
    with ExitStack() as running:
        master = running.enter_context(RedisServer(folder / "master", "--save", ""))
        following = ("--save", "", "--replicaof", LOOPBACK, str(master.port), "--repl-diskless-sync-delay", "0")
        replica = running.enter_context(RedisServer(folder / "replica", *following))
        with replica.client() as client:
            eventually(lambda: client.info("replication")["master_link_status"] == "up", "the replica to follow")
        config = (
            f"sentinel monitor main {LOOPBACK} {master.port} {quorum}\nsentinel down-after-milliseconds main 1000\n"
        )
        started = [
            running.enter_context(RedisServer(folder / f"sentinel-{number}", "--sentinel", config=config))
            for number in range(sentinels)
        ]
        for sentinel in started:
            with sentinel.client() as client:
                eventually(lambda: client.sentinel_slaves("main"), "Sentinel to know the replica")
                eventually(lambda: _others(client) == sentinels - 1, "Sentinel to know the others")
        yield Watched(master, replica, started)


def _others(client: redis.Redis) -> int:
    return len(cast("list[object]", client.sentinel_sentinels("main")))
