"""Creating jobs against real processes: two APIs at once, APIs that are killed in between, a real chat endpoint."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import redis

from cli.processes.embedded import EmbeddedRedis
from cli.processes.machine import free_port
from core.service.redis import keys
from core.service.redis.client import connect
from core.service.redis.idempotency import RedisIdempotencyKeys
from core.service.redis.speed import RedisSpeeds
from tests.helpers.canned_server import answering, unreachable_port
from tests.helpers.creation_contract import CreationContract, CreationPorts
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service

BODY = {"model": "fake", "prompt": "a red square", "num_frames": 16}
LONGER = "a red square that moves left over a plain background"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@contextmanager
def frozen(pid: int) -> Generator[None]:
    """The process keeps its connections and answers nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def names(client: redis.Redis, pattern: str = "*") -> list[str]:
    return [*cast("Iterator[str]", client.scan_iter(f"longtake:idempotency:{pattern}"))]


def flush(client: redis.Redis) -> None:
    client.flushall()


def expire_locks(client: redis.Redis) -> None:
    for name in names(client, "*:lock"):
        client.delete(name)


class TestRedis(CreationContract):
    @pytest.fixture
    def ports(self, server: EmbeddedRedis) -> Iterator[CreationPorts]:
        with connect(server.url()) as client:
            client.flushall()
            yield CreationPorts(
                RedisIdempotencyKeys(client),
                RedisSpeeds(client),
                lambda: expire_locks(client),
                lambda: flush(client),
            )

    def test_keys_and_locks_end_by_themselves(self, server: EmbeddedRedis, ports: CreationPorts) -> None:
        ports.reserve("one")
        with connect(server.url()) as client:
            lives = {name.endswith(":lock"): client.ttl(name) for name in names(client)}
        assert (lives[True], lives[False]) == (pytest.approx(60, abs=5), pytest.approx(86400, abs=5))


def post(url: str, key: str, body: dict[str, Any] = BODY, method: str = "POST") -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=60) as client:
        return client.request(method, url, json=body, headers={"Idempotency-Key": key})


def test_two_apis_create_one_job_for_one_key_and_for_one_id(own_service: Service) -> None:
    other_port = free_port()
    first_port, own_service.api_port = own_service.api_port, other_port
    own_service.start_api(wait=False)
    urls = [f"http://127.0.0.1:{port}/jobs" for port in (first_port, other_port)]
    with httpx.Client(trust_env=False, timeout=30) as client:
        eventually(lambda: is_up(client, urls[1].removesuffix("/jobs")), "the second API to answer")
    post(urls[0], "another key")  # creates the bucket, as workers do at their start
    for method, path in (("POST", ""), ("PUT", "/mine")):
        with ThreadPoolExecutor(16) as pool:
            sent = [pool.submit(post, f"{urls[n % 2]}{path}", "a key", BODY, method) for n in range(16)]
        answers = [each.result() for each in sent]
        assert {answer.status_code for answer in answers} <= {200, 201, 202, 409}, [answer.text for answer in answers]
        assert sum(answer.status_code in {201, 202} for answer in answers) == 1
        assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"request_in_flight"}
        again = [post(f"{url}{path}", "a key", BODY, method) for url in urls]
        assert [answer.status_code for answer in again] == [200, 200]
        assert len({answer.json()["id"] for answer in answers + again if answer.status_code < 400}) == 1
    assert len(own_service.http.get("/jobs").json()["jobs"]) == 3


def is_up(client: httpx.Client, url: str) -> bool:
    with suppress(httpx.TransportError):
        return client.get(f"{url}/healthz").is_success
    return False


def test_a_key_survives_an_api_that_is_killed_while_it_stores_the_job(own_service: Service) -> None:
    """It dies between the reservation and the job: the S3 server does not answer."""
    (api,) = own_service.children()
    url = f"http://127.0.0.1:{own_service.api_port}/jobs"
    own_service.start_workers("fake")
    own_service.wait_for_success(post(url, "another key").json()["id"])
    expire_locks(own_service.redis())
    with frozen(own_service.s3_server.pid):
        lost = threading.Thread(target=swallow, args=(url, "a key"))
        lost.start()
        (name,) = eventually(lambda: [*names(own_service.redis(), "*:lock")] or None, "the reservation")
        os.kill(api.pid, signal.SIGKILL)
        lost.join()
    own_service.stop(api)
    reserved = own_service.redis().hget(name.removesuffix(":lock"), "job")
    own_service.start_api()
    refused = post(url, "a key")
    assert (refused.status_code, refused.json().get("code")) == (409, "request_in_flight"), refused.text
    expire_locks(own_service.redis())
    created, again = post(url, "a key"), post(url, "a key")
    assert (created.status_code, again.status_code) == (202, 200)
    assert created.json()["id"] == again.json()["id"] == reserved
    own_service.wait_for_success(str(reserved))
    assert len(own_service.http.get("/jobs").json()["jobs"]) == 2


def swallow(url: str, key: str, method: str = "POST") -> None:
    """Send a request whose answer gets lost."""
    with suppress(httpx.TransportError):
        post(url, key, method=method)


@pytest.mark.parametrize("seconds", [0.0, 0.005, 0.01, 0.02, 0.05])
def test_whenever_an_api_is_killed_a_retry_leaves_one_job(own_service: Service, seconds: float) -> None:
    url = f"http://127.0.0.1:{own_service.api_port}/jobs"
    (api,) = own_service.children()
    post(url, "warm", {**BODY, "seed": 1})
    threads = [threading.Thread(target=swallow, args=(url, "a key"))]
    threads += [threading.Thread(target=swallow, args=(f"{url}/mine", "", "PUT"))]
    for thread in threads:
        thread.start()
    threads[0].join(seconds)
    os.kill(api.pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    own_service.stop(api)
    own_service.start_api()
    expire_locks(own_service.redis())
    assert post(url, "a key").status_code in {200, 202}
    assert post(f"{url}/mine", "", method="PUT").status_code in {200, 201}
    assert post(url, "a key").status_code == 200
    assert len(own_service.http.get("/jobs").json()["jobs"]) == 3


def test_an_id_of_a_client_goes_the_whole_way(service: Service) -> None:
    body = {**BODY, "num_frames": 40}
    answer = service.http.put("/jobs/Trailer_7-b", json=body, headers={"Prefer": "wait=60"})
    assert (answer.status_code, answer.json()["status"]) == (201, "succeeded"), answer.text
    assert service.video("Trailer_7-b")
    service.redis().flushdb()  # the record is rebuilt from its manifest
    assert service.http.get("/jobs/Trailer_7-b").json()["status"] == "succeeded"
    again = service.http.put("/jobs/Trailer_7-b", json=body)
    assert (again.status_code, again.json()["id"]) == (200, "Trailer_7-b")


def test_a_wait_ends_with_the_job_and_holds_no_thread(service: Service) -> None:
    """More waits than the API has threads, and it answers others meanwhile."""
    url = f"http://127.0.0.1:{service.api_port}/jobs"

    def wait() -> httpx.Response:
        with httpx.Client(trust_env=False, timeout=120) as client:
            return client.post(url, json={**BODY, "num_frames": 48, "model": "slow"}, headers={"Prefer": "wait=2"})

    with ThreadPoolExecutor(50) as pool:
        sent = [pool.submit(wait) for _ in range(50)]
        assert service.http.get("/jobs").status_code == 200
        answers = [each.result() for each in sent]
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert {answer.headers["preference-applied"] for answer in answers} == {"wait=2"}
    for answer in answers:
        service.http.delete(f"/jobs/{answer.json()['id']}")
    ended = service.http.post("/jobs", json=BODY, headers={"Prefer": "wait=60"})
    assert (ended.status_code, ended.json()["status"]) == (200, "succeeded")


def test_an_estimate_comes_from_chunks_that_workers_made(service: Service) -> None:
    body = {**BODY, "num_frames": 48}
    service.wait_for_success(service.submit(**body).id)
    plan = service.http.post("/jobs?dry_run=true", json=body).json()
    measured = service.redis().hgetall(keys.SPEEDS)
    assert {"fake first", "fake next"} <= set(cast("dict[str, str]", measured))
    assert 0 < plan["estimate"]["seconds_per_chunk"] < plan["estimate"]["seconds_total"]


class Chat(BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint with one answer."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"choices": [{"message": {"content": LONGER}}]}).encode()
        self.send_response(200 if self.path == "/v1/chat/completions" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def chat_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Chat) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def enhanced(folder: Path, url: str) -> dict[str, Any]:
    """The job of a request for a longer prompt at an API with this endpoint."""
    write_fake_preset(folder / "presets", "fake")
    with running_service(folder, folder / "presets", default_model="fake", prompt_enhancer_url=url) as service:
        return service.http.post("/jobs", json={**BODY, "enhance_prompt": True}).json()


def test_a_chat_endpoint_writes_the_prompt(tmp_path: Path, chat_url: str) -> None:
    assert enhanced(tmp_path, chat_url)["request"]["prompt_used"] == LONGER


def test_an_endpoint_that_is_down_or_silent_is_a_warning(tmp_path: Path) -> None:
    with answering(None) as silent:
        job = enhanced(tmp_path / "silent", f"http://127.0.0.1:{silent}/v1")
    assert [warning["code"] for warning in job["warnings"]] == ["prompt_not_enhanced"]
    with unreachable_port() as dropped:
        job = enhanced(tmp_path / "dropped", f"http://127.0.0.1:{dropped}/v1")
    assert [warning["code"] for warning in job["warnings"]] == ["prompt_not_enhanced"]
    job = enhanced(tmp_path / "refused", f"http://127.0.0.1:{free_port()}/v1")
    assert [warning["code"] for warning in job["warnings"]] == ["prompt_not_enhanced"]
