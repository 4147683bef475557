"""The Python client against the real service over connections that are cut again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import AsyncLongtake, Longtake
from tests.helpers.deadline import eventually
from tests.helpers.faulty_proxy import Behaviour, FaultyProxy
from tests.helpers.service import Service
from tests.helpers.webhook_receiver import WebhookReceiver

OFTEN = Behaviour(cut_share=0.3)
"""Of the blocks of answers, each of which is most of an answer or an event."""
MAX_RETRIES = 20
POLL_SECONDS = 0.01


@pytest.fixture
def proxy(service: Service) -> Iterator[FaultyProxy]:
    """In front of the API; links of answers lead through it, too."""
    with FaultyProxy(service.api_port, seed=15) as proxy:
        proxy.behave(OFTEN)
        yield proxy


@pytest.fixture
def longtake(proxy: FaultyProxy) -> Iterator[Longtake]:
    url = f"http://127.0.0.1:{proxy.port}"
    with Longtake(url, max_retries=MAX_RETRIES, poll_seconds=POLL_SECONDS) as longtake:
        yield longtake


def test_a_job_is_followed_live_and_saved_whole(service: Service, longtake: Longtake, tmp_path: Path) -> None:
    job = longtake.jobs.create(model="slow", prompt="a red square", num_frames=72)
    chunks = list(job.chunks())
    assert [chunk.index for chunk in chunks] == [0, 1, 2, 3, 4]
    assert [len(longtake.fetch(chunk.url)) for chunk in chunks] == [chunk.size_bytes for chunk in chunks]
    assert job.save(tmp_path / "video.mp4").read_bytes() == service.video(job.id)
    assert job.status == "succeeded"


def test_every_event_comes_once(service: Service, longtake: Longtake) -> None:
    job = longtake.jobs.create(model="slow", prompt="a red square", num_frames=48)
    ids = [event.id for event in job.events() if event.type != "job.progress"]
    whole = service.http.get(f"/jobs/{job.id}/events").text
    assert [line.removeprefix("id: ") for line in whole.splitlines() if line.startswith("id: ")] == ids


def test_a_creation_whose_answer_is_lost_makes_one_job(service: Service, longtake: Longtake) -> None:
    made = [longtake.jobs.create(prompt="a red square", num_frames=16, metadata={"of": "lost"}) for _ in range(20)]
    listed = service.http.get("/jobs", params={"limit": 100}).json()["jobs"]
    assert {job["id"] for job in listed if job["request"]["metadata"] == {"of": "lost"}} == {job.id for job in made}


def test_an_upload_is_sent_again_until_it_has_arrived(longtake: Longtake, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 1000)
    upload_id = longtake.uploads.create(tmp_path / "a.png")
    assert longtake.uploads.get(upload_id).received
    longtake.uploads.delete(upload_id)


def test_the_same_holds_for_asyncio(service: Service, proxy: FaultyProxy, tmp_path: Path) -> None:
    async def watch() -> tuple[list[int], str, bytes]:
        url = f"http://127.0.0.1:{proxy.port}"
        async with AsyncLongtake(url, max_retries=MAX_RETRIES, poll_seconds=POLL_SECONDS) as longtake:
            job = await longtake.jobs.create(model="slow", prompt="a red square", num_frames=48)
            indexes = [chunk.index async for chunk in job.chunks()]
            return indexes, job.id, (await job.save(tmp_path / "video.mp4")).read_bytes()

    indexes, job_id, video = asyncio.run(watch())
    assert indexes == [0, 1, 2]
    assert video == service.video(job_id)


def test_webhooks_are_listed_sent_again_and_tried(service: Service, receiver: WebhookReceiver) -> None:
    with Longtake(f"http://127.0.0.1:{service.api_port}") as longtake:
        job = longtake.jobs.create(prompt="a red square", num_frames=16, webhook_url=receiver.url).wait()
        eventually(lambda: job.webhook_deliveries().deliveries[0].state == "delivered", "the webhook")
        first = job.webhook_deliveries().deliveries[0]
        assert (first.event, first.attempts[0].status_code) == ("job.succeeded", 204)
        assert job.redeliver_webhook(first.id).id == first.id
        eventually(lambda: len(job.webhook_deliveries().deliveries[0].attempts) == 2, "a second attempt")
        ping = longtake.webhooks.ping(receiver.url)
        eventually(lambda: longtake.webhooks.ping_result(ping.id).state == "delivered", "the ping to arrive")
