"""Logs and metrics of real processes: every line is one JSON object without secrets, and a worker serves its metrics.

Redis and S3 are not there: nothing here needs them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cli.processes.child import Child
from cli.processes.machine import free_port
from tests.helpers.deadline import eventually

NOWHERE = {
    "LONGTAKE_REDIS_URL": "redis://:secret-password@127.0.0.1:1/0",
    "LONGTAKE_BROKER_URL": "redis://:secret-password@127.0.0.1:1/1",
    "LONGTAKE_S3_ENDPOINT_URL": "http://127.0.0.1:1",
    "LONGTAKE_LOG_FORMAT": "json",
}


@contextmanager
def running(arguments: list[str], log: Path, **settings: str) -> Generator[Child]:
    environment = {**os.environ, **NOWHERE, **{f"LONGTAKE_{name}": value for name, value in settings.items()}}
    child = Child("the process", [sys.executable, "-m", *arguments], environment, log)
    try:
        yield child
    finally:
        child.ask_to_stop()
        child.wait_stopped(30)


def answers(child: Child, url: str) -> bool:
    child.check()
    try:
        return httpx.get(url, trust_env=False, timeout=5).is_success
    except httpx.TransportError:
        return False


def lines_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_lines_of_the_api_are_json_and_have_no_secret_and_no_query(tmp_path: Path) -> None:
    log, port = tmp_path / "api.log", free_port()
    url, request_id = f"http://127.0.0.1:{port}", "trace-7.a"
    with running(["api.server", "--port", str(port), "--access-log"], log) as api:
        eventually(lambda: answers(api, f"{url}/healthz"), "the API to answer", seconds=60)
        headers = {"Authorization": "Bearer lt_secret-key-of-a-customer", "X-Request-Id": request_id}
        paths = ("/jobs/job_a?token=secret-token", "/jobs/job_a%3Ftoken=secret-token", "/jobs?limit=7")
        asked = [httpx.get(f"{url}{path}", headers=headers, trust_env=False, timeout=20) for path in paths]
        assert [answer.status_code for answer in asked] == [422, 503, 503]
    assert "secret" not in log.read_text()
    lines = [line for line in lines_of(log) if line.get("request_id") == request_id]
    access = [line["message"] for line in lines if line["logger"] == "uvicorn.access"]
    requests = [f"GET {path} HTTP/1.1" for path in ("/jobs/job_a?...", "/jobs/job_a%3F...", "/jobs?...")]
    assert [message.split('"')[1] for message in access] == requests
    assert {"ERROR", "INFO"} <= {line["level"] for line in lines}, "the refusal and the access"


def test_lines_of_a_worker_are_json_and_name_it_and_its_metrics_are_served(tmp_path: Path) -> None:
    log, port = tmp_path / "worker.log", free_port()
    url = f"http://127.0.0.1:{port}/metrics"
    with running(["worker.process", "--kind", "cpu"], log, WORKER_METRICS_PORT=str(port)) as worker:
        eventually(lambda: answers(worker, url), "the worker to serve metrics", seconds=60)
        assert "longtake_chunks_total" in httpx.get(url, trust_env=False, timeout=30).text
        eventually(lambda: "is not ready" in log.read_text(), "the worker to miss Redis", seconds=60)
    assert "secret" not in log.read_text()
    assert all(line["worker_id"].startswith("cpu-0-") for line in lines_of(log))


def test_libraries_repeat_no_prompt_that_is_too_long_for_them() -> None:
    """As pipelines of diffusers do with the part that they cut off."""
    code = (
        "from core.service.logs import quiet_libraries\n"
        "quiet_libraries()\n"
        "from diffusers.utils import logging as of_diffusers\n"
        "from transformers.utils import logging as of_transformers\n"
        "for library, name in ((of_diffusers, 'diffusers.pipelines.x'), (of_transformers, 'transformers.x')):\n"
        "    library.get_logger(name).warning('truncated: secret words')\n"
        "    library.get_logger(name).error('an error')\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stderr.count("an error") == 2
    assert "secret" not in told.stdout + told.stderr


def test_a_metrics_port_in_use_stops_no_worker(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with running(["worker.process", "--kind", "cpu"], log, WORKER_METRICS_PORT=port) as worker:
            eventually(lambda: "is not ready" in log.read_text(), "the worker to go on to Redis", seconds=60)
            worker.check()
    (told,) = [line for line in lines_of(log) if line["logger"] == "worker.metrics"]
    assert told["level"] == "ERROR"
    assert f"port {port} of 127.0.0.1" in told["message"]
    assert "set LONGTAKE_WORKER_METRICS_PORT to a free port" in told["message"]
