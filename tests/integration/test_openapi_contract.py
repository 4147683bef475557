"""The OpenAPI document against the running service, by tools that read it: schemathesis and openapi-python-client."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.helpers.pages import REPOSITORY, examples, section
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service

BIN = Path(sys.executable).parent
API_PAGE = (REPOSITORY / "docs" / "http-api.md").read_text()
ADMIN_KEY = "an-admin-key-of-32-characters-or-more"
SHORT_SECONDS = 30
NO_KEYS = ["--exclude-checks", "ignored_auth", "--generation-with-security-parameters", "false"]
"""Without keys the service asks for none, although the document, which is always the same, names them."""
ANSWERED = re.compile(r'^longtake_http_requests_total\{(.*),status="(\d{3})"\} (\S+)$', re.MULTILINE)
"""Methods with routes, statuses and their numbers, in /metrics."""
CONFIG = """\
seed = 7
workers = 1  # CPython 3.11 cannot parse in two threads at once (SystemError), which hypothesis does
request-timeout = 20
max-redirects = 0
max-stream-events = 5
continue-on-failure = true

{headers}
[generation]
max-examples = 8

[checks]
positive_data_acceptance.enabled = false  # a schema cannot say which words a model knows

[checks.negative_data_rejection]
expected-statuses = ["400", "403", "404", "405", "409", "413", "415", "422", "429", "503"]

[checks.not_a_server_error]  # a busy machine's object store may not answer in time
expected-statuses = ["2xx", "3xx", "4xx", "503"]

[dictionaries]
jobs.values = {jobs}
ended.values = {ended}
keys.values = {keys}
new.values = ["film-1", "film-2", "film-3"]
prompts.values = ["a red square", "a blue circle moving left"]
receivers.values = ["http://127.0.0.1:8999/hook"]

[parameters]
"path.job_id" = {{ dictionary = "jobs", probability = 0.8 }}
"path.index" = 0
"path.key_id" = {{ dictionary = "keys", probability = 0.8 }}
"body.prompt" = {{ dictionary = "prompts", probability = 0.8 }}
"body.webhook_url" = {{ dictionary = "receivers", probability = 1.0 }}

[[operations]]  # of a job that waits the stream has no end
include-path-regex = "/jobs/.*/(events|playlist.m3u8)$"
parameters = {{ "path.job_id" = {{ dictionary = "ended", probability = 0.8 }} }}

[[operations]]  # has no end at all
include-path = "/events"
enabled = false

[[operations]]
include-name-regex = "^(PUT /jobs/{{job_id}}|DELETE .*)$"
parameters = {{ "path.job_id" = {{ dictionary = "new", probability = 0.8 }}, "path.key_id" = {{ dictionary = "new" }} }}

[[operations]]  # each of the jobs in it is refused by itself, and a job may have the id `batch`
include-path = "/jobs/batch"
checks.negative_data_rejection.enabled = false
checks.allow_header_conformance.enabled = false
"""


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with keys; the client of `http` is the operator."""
    with short_jobs(tmp_path_factory.mktemp("contract"), admin_key=SecretStr(ADMIN_KEY)) as service:
        service.http.headers["Authorization"] = f"Bearer {ADMIN_KEY}"
        yield service


@contextmanager
def short_jobs(folder: Path, **chosen: Any) -> Generator[Service]:
    """A service of its own: generated requests fill its queue and delete its jobs."""
    write_fake_preset(folder / "presets", "fake", refiner=True)
    write_fake_preset(folder / "presets", "idle")
    limits = {"max_frames": 64, "max_endless_frames": 64, "max_queued_jobs": 100_000, "max_uploads_per_client": 1000}
    chosen |= {"max_wait_seconds": 1, "playlist_wait_seconds": 0.2, "media": "proxy"}
    with running_service(folder, folder / "presets", default_model="fake", **limits, **chosen) as service:
        service.start_workers("fake")
        yield service


def environment() -> dict[str, str]:
    return {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "NO_COLOR": "1", "PYTHONWARNINGS": "ignore"}


def test_every_answer_to_generated_requests_is_as_the_document_says(contract: Service, tmp_path: Path) -> None:
    check(contract, ADMIN_KEY, "examples,coverage,fuzzing", tmp_path)


def test_so_is_every_answer_to_a_key_at_its_limits(contract: Service, tmp_path: Path) -> None:
    limits = {"requests_per_minute": 300, "unfinished_jobs": 3, "frames_per_day": 200, "frames": 48, "stored_bytes": 1}
    key = contract.http.post("/keys", json={"name": "a small customer", "limits": limits}).json()["key"]
    check(contract, key, "examples,fuzzing", tmp_path)


def test_so_is_every_answer_to_a_customer_without_limits(contract: Service, tmp_path: Path) -> None:
    key = contract.http.post("/keys", json={"name": "a customer"}).json()["key"]
    check(contract, key, "examples,fuzzing", tmp_path, SHORT_SECONDS)


def test_so_is_every_answer_of_a_service_without_keys(tmp_path: Path) -> None:
    with short_jobs(tmp_path / "open") as service:
        check(service, None, "examples,fuzzing", tmp_path, SHORT_SECONDS)


def check(service: Service, sender: str | None, phases: str, folder: Path, seconds: int | None = None) -> None:
    """schemathesis finds no answer to this key, or without one, that the document does not foresee. It looks no longer
    than `seconds`."""
    ended = [service.submit(num_frames=32, refine=refine).id for refine in (None, True)]
    for job_id in ended:
        service.wait_for_success(job_id)
    waiting = [service.submit(model="idle", num_frames=48).id for _ in range(2)]  # for no worker
    key = service.http.post("/keys", json={"name": "a customer"}).json()["id"] if sender else "key_none"
    lists = {"jobs": [*ended, *waiting], "ended": ended, "keys": [key]}
    headers = f'[headers]\nAuthorization = "Bearer {sender}"\n' if sender else ""
    told = {name: json.dumps(values) for name, values in lists.items()}
    (folder / "schemathesis.toml").write_text(CONFIG.format(headers=headers, **told))
    url = f"http://127.0.0.1:{service.api_port}/openapi.json"
    bound = [] if seconds is None else ["--max-time", str(seconds)]
    keyless = [] if sender else NO_KEYS
    run([BIN / "schemathesis", "run", url, "--phases", phases, *bound, *keyless], folder)
    answers, unavailable = Counter[str](), Counter[str]()
    for route, status, number in ANSWERED.findall(service.http.get("/metrics").raise_for_status().text):
        answers[route] += int(float(number))
        unavailable[route] += int(float(number)) if status == "503" else 0
    assert answers
    assert [route for route, number in unavailable.items() if number and number * 2 >= answers[route]] == []


def test_a_generated_client_type_checks_and_works(contract: Service, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    document.write_bytes(contract.http.get("/openapi.json").content)
    (config,) = examples(section(API_PAGE, "Generated clients"), "json")
    (tmp_path / "config.json").write_text(config)
    generate = [BIN / "openapi-python-client", "generate", "--path", document, "--config", "config.json"]
    run([*generate, "--meta", "none", "--fail-on-warning", "--output-path", tmp_path / "longtake_client"], tmp_path)
    (tmp_path / "use.py").write_text(USE)
    of_document = ["longtake_client/api", "longtake_client/models"]  # the rest is the generator's own
    run([BIN / "pyright", "--pythonpath", sys.executable, *of_document, "use.py"], tmp_path)
    printed = run([sys.executable, "use.py", f"http://127.0.0.1:{contract.api_port}", ADMIN_KEY], tmp_path)
    assert printed.split() == ["202", "succeeded", "404", "job_not_found"]


USE = """\
import sys, time
from longtake_client import AuthenticatedClient
from longtake_client.api.jobs import read_job, submit
from longtake_client.models import Job, JobRequest, JobStatus, JobSummary, Problem

with AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2], httpx_args={"trust_env": False}) as client:
    answer = submit.sync_detailed(client=client, body=JobRequest(prompt="a red square", num_frames=16))
    print(int(answer.status_code))
    assert isinstance(answer.parsed, JobSummary)
    status = answer.parsed.status
    while status != JobStatus.SUCCEEDED:
        time.sleep(0.1)
        job = read_job.sync(answer.parsed.id, client=client)
        assert isinstance(job, Job)
        status = job.status
    print(status)
    missing = read_job.sync_detailed("nobody", client=client)
    assert isinstance(missing.parsed, Problem)
    print(int(missing.status_code), missing.parsed.code)
"""
"""What a developer would write with the generated client."""


def run(command: list[str | Path], folder: Path) -> str:
    """What it prints. Fails, with all that it said, unless it succeeds."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        command,
        cwd=folder,
        env={**environment(), "PATH": path},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert result.returncode == 0, shown(result)
    return result.stdout


def shown(result: subprocess.CompletedProcess[str]) -> str:
    """What a command said, without the rest of long lines: generated bodies are large."""
    return "\n".join(line[:300] for line in f"{result.stdout}\n{result.stderr}".splitlines())
