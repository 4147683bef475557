"""One janitor at a time, on a real Redis: a living one keeps its lock, a killed one blocks others for seconds."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import redis

from cli.processes.embedded import EmbeddedRedis
from tests.helpers.deadline import eventually
from worker.maintenance.janitor_lock import LOCK_KEY, LOCK_SECONDS, RedisJanitorLock

SHORT = 3.0
REPOSITORY = Path(__file__).resolve().parents[2]

HOLDER = """
import sys, threading
from core.service.redis.client import connect
from worker.maintenance.janitor_lock import RedisJanitorLock
with RedisJanitorLock(connect(sys.argv[1]), lock_seconds=float(sys.argv[2])).exclusive() as mine:
    print(mine, flush=True)
    threading.Event().wait()
"""
"""A janitor in the midst of a pass that does not end."""


def is_free(client: redis.Redis) -> bool:
    with RedisJanitorLock(client).exclusive() as mine:
        return mine


def test_a_janitor_killed_during_a_pass_blocks_others_no_longer_than_its_lock(
    redis_server: EmbeddedRedis, client: redis.Redis
) -> None:
    command = [sys.executable, "-c", HOLDER, redis_server.url(), str(SHORT)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        lasted_until = time.monotonic() + 2 * SHORT
        eventually(lambda: time.monotonic() > lasted_until, "its pass to last longer than its lock")
        assert not is_free(client)
        holder.kill()
        assert 0 < int(client.pttl(LOCK_KEY)) <= 1000 * SHORT  # pyright: ignore[reportArgumentType]
        eventually(lambda: is_free(client), "the next janitor")


def test_the_lock_lasts_seconds(client: redis.Redis) -> None:
    """It was 300 s, and so was every recovery after a kill of the CPU worker."""
    with RedisJanitorLock(client).exclusive() as mine:
        assert mine
        assert 0 < int(client.pttl(LOCK_KEY)) <= 1000 * LOCK_SECONDS <= 10_000  # pyright: ignore[reportArgumentType]
    assert is_free(client)
