"""A name server that never answers: a real one, used by a real API and a real CPU worker through /etc/resolv.conf."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from statistics import median

import httpx
import pytest

from core.service.clock import SystemClock
from core.service.redis.job_store import RedisJobStore
from tests.helpers.deadline import eventually
from tests.helpers.jobs import queued_job
from tests.helpers.name_server import HERE, PIT, PUBLIC, launcher, reason_to_skip, serving_names
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service
from tests.helpers.webhook_receiver import WebhookReceiver

NUM_LOOKS = 40
NUM_DEAD = 200
"""More than a CPU worker may look up at a time, so that without a share for each domain no room would be left."""
ANSWER_SECONDS = 60.0
"""What a client waits for an answer: far less than a look-up hangs, far more than the slowest machine needs."""
FLOODER = "127.0.0.2"
pytestmark = pytest.mark.skipif(bool(reason_to_skip()), reason=str(reason_to_skip()))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("pit")
    write_fake_preset(folder / "presets", "fake")
    service = Service(folder, folder / "presets", default_model="fake", webhook_allow_private_addresses=True)
    with ExitStack() as stack:
        stack.enter_context(serving_names())
        stack.callback(service.close)
        service.launcher = [*launcher(folder)]
        service.start_servers()
        service.start_api()
        service.start_worker("cpu")
        yield service


def post(client: httpx.Client, url: str) -> tuple[httpx.Response, float]:
    """POST /jobs with this webhook; the answer, and how long it took."""
    began = time.monotonic()
    answer = client.post("/jobs", json={"prompt": "a red square", "webhook_url": url})
    return answer, time.monotonic() - began


def wait_until_accepted(client: httpx.Client, url: str) -> None:
    """POST /jobs with a webhook whose name server answers: also that may be too late once on a busy machine."""

    def is_accepted() -> bool:
        answer, _ = post(client, url)
        assert answer.status_code in {202, 503}, answer.text
        return answer.status_code == 202

    eventually(is_accepted, f"a job with {url}")


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.http.base_url, trust_env=False, timeout=ANSWER_SECONDS) as client:
        yield client


@pytest.fixture
def flooder(service: Service) -> Iterator[httpx.Client]:
    """A client with an address of its own."""
    transport = httpx.HTTPTransport(local_address=FLOODER, limits=httpx.Limits(max_connections=200))
    with httpx.Client(base_url=service.http.base_url, transport=transport, timeout=ANSWER_SECONDS) as client:
        yield client


def seconds_of_a_look(service: Service, path: str) -> float:
    began = time.monotonic()
    assert service.http.get(path).status_code == 200
    return time.monotonic() - began


@pytest.mark.parametrize(("num_domains", "num_posts"), [(1, 60), (24, 150)])
def test_fifty_posts_of_clients_with_dead_name_servers_slow_no_other_client(
    service: Service, client: httpx.Client, flooder: httpx.Client, num_domains: int, num_posts: int
) -> None:
    """Below one domain all but a few wait for room. With 24 the domains' shares are more than there is room for in all,
    and the client's own share keeps room for others. The look-ups hang on for minutes after the answers."""
    job_id = service.submit().id
    urls = [f"http://h{n}.{PIT}.d{num_domains}-{n % num_domains}.example/hook" for n in range(num_posts)]
    with ThreadPoolExecutor(num_posts) as clients:
        stuck = [clients.submit(post, flooder, url) for url in urls]
        looks = [seconds_of_a_look(service, f"/jobs/{job_id}") for _ in range(NUM_LOOKS)]
        wait_until_accepted(client, f"https://while{num_domains}.{PUBLIC}/hook")
        answers = [done.result() for done in stuck]
    wait_until_accepted(client, f"https://after{num_domains}.{PUBLIC}/hook")
    assert min(seconds for _, seconds in answers) > 1
    assert median(looks) < min(seconds for _, seconds in answers), "no look has waited for a post"
    assert {answer.json()["code"] for answer, _ in answers} == {"name_service_unavailable"}
    assert {answer.status_code for answer, _ in answers} == {503}


def test_receivers_with_dead_name_servers_delay_no_other_webhook(service: Service, receiver: WebhookReceiver) -> None:
    with service.redis() as client:
        store = RedisJobStore(client, SystemClock(), retention_seconds=600.0)

        def canceled(number: int, url: str) -> str:
            job = store.create(queued_job(number, webhook_url=url, webhook_events=("job.canceled",)))
            store.request_cancel(job.id)
            return job.id

        for number in range(NUM_DEAD):
            canceled(number, f"http://h{number}.{PIT}.example/hook")
        port = receiver.url.rpartition(":")[2]
        jobs = [canceled(NUM_DEAD + number, f"http://receiver{number}.{HERE}:{port}") for number in range(10)]
        eventually(lambda: len(receiver.tries) == len(jobs), "webhooks of good receivers")
