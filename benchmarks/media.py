"""Megabytes per second that one API process passes from the object storage to players, and the memory that it takes.

The storage (rclone) and the players (threads of this process) share the machine's cores with the API.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.figures import Figure
from benchmarks.http import api_client, environment_of, make_chunks, post_job, settings_of, wait_for_answer
from cli.processes.child import Child, stop_all
from cli.processes.embedded import EmbeddedRedis, EmbeddedS3
from cli.processes.machine import free_port
from core.service.clock import SystemClock
from core.service.domain.manifest import chunk_key
from core.service.redis.client import connect
from core.service.redis.job_store import RedisJobStore
from core.service.s3.storage import S3Storage

CONNECTIONS = 32
OBJECT_BYTES = 32_000_000
SECONDS = 6.0
TARGET_MB_PER_SECOND = 200
_READ_BYTES = 1 << 20


@dataclass
class Players:
    """Connections that read `path` again and again. `received`: bytes so far, of each."""

    port: int
    path: str
    received: list[int]

    def read(self, number: int, ends_at: float) -> None:
        request = f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        buffer = bytearray(_READ_BYTES)
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=30)) as connection:
            while time.perf_counter() < ends_at:
                connection.sendall(request)
                head = _head(connection)
                assert head.startswith(b"HTTP/1.1 200"), head
                left = OBJECT_BYTES
                while left and time.perf_counter() < ends_at:
                    got = connection.recv_into(buffer, min(left, _READ_BYTES))
                    assert got, "the API closed the connection"
                    left -= got
                    self.received[number] += got


def _head(connection: socket.socket) -> bytes:
    """The head of an answer, without a byte of its body."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    return bytes(head)


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Throughput over CONNECTIONS connections, and how much larger the API process grew."""
    say(f"media through the API, {CONNECTIONS} connections")
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder, _api(Path(folder)) as (child, port, path):
        api = psutil.Process(child.pid)
        _load(port, path, 1.0)
        before, cpu_before = api.memory_info().rss, sum(api.cpu_times()[:2])
        rate, largest = _load(port, path, SECONDS, api)
        cpu_seconds = sum(api.cpu_times()[:2]) - cpu_before
    grown = round(max(0, largest - before) / 1e6, 1)
    per_core = round(rate * SECONDS / cpu_seconds, 1)
    return [
        Figure("media by proxy, 32 connections", round(rate, 1), "MB/s", target=TARGET_MB_PER_SECOND, better="higher"),
        Figure("media by proxy, per second of the API's CPU", per_core, "MB/s", better="higher"),
        Figure("media by proxy, growth of the API's memory", grown, "MB", target=50),
    ]


def _load(port: int, path: str, seconds: float, api: psutil.Process | None = None) -> tuple[float, int]:
    """Megabytes per second, and the largest memory of `api` meanwhile in bytes."""
    players, ends_at, largest = Players(port, path, [0] * CONNECTIONS), time.perf_counter() + seconds, 0
    threads = [threading.Thread(target=players.read, args=(number, ends_at)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        largest = max(largest, api.memory_info().rss if api else 0)
        time.sleep(0.1)
    return sum(players.received) / seconds / 1e6, largest


@contextmanager
def _api(folder: Path) -> Generator[tuple[Child, int, str]]:
    """The API's own server with a large chunk in its storage: process, port and the chunk's path."""
    with EmbeddedRedis(folder / "redis") as redis_server, EmbeddedS3(folder / "s3") as s3_server:
        port = free_port()
        settings = settings_of(redis_server, s3_server, media="proxy")
        command = [sys.executable, "-m", "api.server", "--port", str(port)]
        child = Child("the API", command, {**os.environ, **environment_of(settings)}, folder / "api.log")
        try:
            wait_for_answer(port, child)
            with api_client(port) as http:
                job_id = post_job(http)
            with connect(redis_server.url(0)) as client:
                make_chunks(RedisJobStore(client, SystemClock(), retention_seconds=3600), job_id, 1)
            S3Storage(settings).put(chunk_key(job_id, 0), os.urandom(OBJECT_BYTES), "video/mp4")
            yield child, port, f"/jobs/{job_id}/chunks/0.mp4"
        finally:
            stop_all([child], 10)
