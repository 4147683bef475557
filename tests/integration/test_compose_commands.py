"""The Redis and S3 commands of docker-compose.yml, run for real: only paths and ports are replaced.

Also that they are the embedded stack's own command lines, so that what the other tests run is what compose runs.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import redis
from pydantic import SecretStr

from cli.processes.embedded import EmbeddedRedis, EmbeddedS3
from cli.processes.machine import free_port
from cli.processes.programs import find_rclone, find_redis
from core.service.s3.storage import S3Storage
from core.service.settings import Settings
from tests.helpers.containers import DEMO_SECRETS, compose
from tests.helpers.deadline import eventually

PLACES = {"--bind", "--port", "--dir", "--addr", "--daemonize", "--protected-mode"}
"""Options that say where a server listens and writes: different in a container, and nothing else is."""


def options(argv: Sequence[str]) -> dict[str, str]:
    """`--name value` pairs of a command line, places left out."""
    pairs = [(argv[i], argv[i + 1]) for i, word in enumerate(argv[:-1]) if word.startswith("--")]
    return {name: value for name, value in pairs if name not in PLACES}


@contextmanager
def running(argv: Sequence[str], environment: dict[str, str]) -> Generator[None]:
    with subprocess.Popen(argv, env={**os.environ, **environment}, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def composed_s3(folder: Path) -> Generator[tuple[int, dict[str, str]]]:
    """The `s3` service without a container: its port and its environment."""
    service, port = compose()["services"]["s3"], free_port()
    argv = [word.replace("0.0.0.0:9000", f"127.0.0.1:{port}") for word in service["command"]]
    argv = [str(folder) if word == "/data" else word for word in argv]
    environment = {key: value.replace(":9000", f":{port}") for key, value in service["environment"].items()}
    environment["RCLONE_CACHE_DIR"] = str(folder / "cache")
    with running([str(find_rclone()), *argv], environment):
        eventually(lambda: answers(f"http://127.0.0.1:{port}"), "the S3 server of docker-compose.yml")
        yield port, environment


def answers(url: str) -> bool:
    try:
        httpx.get(url, trust_env=False, timeout=30)
    except httpx.TransportError:
        return False
    return True


def config(port: int) -> dict[str, str]:
    """What a running Redis says of the options that docker-compose.yml sets."""
    names = [name.removeprefix("--") for name in options(compose()["services"]["redis"]["command"])]
    with redis.Redis(port=port, decode_responses=True) as client:
        return {f"--{name}": str(client.config_get(name)[name]) for name in names}


def test_compose_runs_the_embedded_stack_s_redis(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as embedded:
        assert config(embedded.port) == options(compose()["services"]["redis"]["command"])


def test_compose_runs_the_embedded_stack_s_s3_command_line(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path) as embedded:
        argv = psutil.Process(embedded.pid).cmdline()
    assert options(compose()["services"]["s3"]["command"]) == options(argv) != {}


def test_composed_redis_appends_every_write_and_never_evicts(tmp_path: Path) -> None:
    port = free_port()
    places = {"/data": str(tmp_path), "0.0.0.0": "127.0.0.1"}  # noqa: S104
    command: list[str] = compose()["services"]["redis"]["command"]
    arguments = [places.get(word, word) for word in command[1:]]
    with running([str(find_redis().path), *arguments, "--port", str(port)], {}):
        eventually(lambda: pongs(port), "the Redis of docker-compose.yml")
        assert config(port)["--appendonly"] == "yes"
        assert config(port)["--maxmemory-policy"] == "noeviction"


def pongs(port: int) -> bool:
    with redis.Redis(port=port) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def test_composed_s3_serves_our_keys_and_refuses_others(tmp_path: Path) -> None:
    with composed_s3(tmp_path) as (port, _):
        settings = Settings(
            s3_endpoint_url=f"http://127.0.0.1:{port}",
            s3_access_key_id=DEMO_SECRETS["S3_ACCESS_KEY_ID"],
            s3_secret_access_key=SecretStr(DEMO_SECRETS["S3_SECRET_ACCESS_KEY"]),
        )
        storage = S3Storage(settings)
        storage.ensure_bucket()
        storage.put("jobs/a/chunks/00000.mp4", b"chunk", "video/mp4")
        assert httpx.get(storage.url("jobs/a/chunks/00000.mp4"), trust_env=False, timeout=30).content == b"chunk"
        unsigned = f"http://127.0.0.1:{port}/longtake/jobs/a/chunks/00000.mp4"
        assert httpx.get(unsigned, trust_env=False, timeout=30).is_client_error


def test_composed_s3_healthcheck_passes_with_the_keys_and_fails_with_others(tmp_path: Path) -> None:
    check = [str(find_rclone()), *compose()["services"]["s3"]["healthcheck"]["test"][2:]]
    with composed_s3(tmp_path) as (_, environment):
        stranger = {**environment, "RCLONE_S3_SECRET_ACCESS_KEY": "wrong"}
        codes = [
            subprocess.run([*check, "--retries", "1"], env={**os.environ, **keys}, capture_output=True, check=False)
            for keys in (environment, stranger)
        ]
    assert [code.returncode == 0 for code in codes] == [True, False]
