"""Following a job: the log first, then live, resumed where the client left off, ended with the job."""

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from threading import Event, Thread

import anyio
import httpx
import pytest
from anyio import to_thread
from fastapi.testclient import TestClient
from httpx_sse import EventSource

from api.events.sse import Streams, StreamTiming, event_stream_limit, follow_job
from api.events.text import ChunkLinks, Permit
from tests.helpers.api_world import BASE_URL, QUICK, World, submit

PERMIT = Permit(ChunkLinks(BASE_URL))


@dataclass
class Told:
    """One event of a stream, or a comment (type "")."""

    id: str
    type: str
    data: dict[str, object]


def parsed(text: str) -> list[Told]:
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if block]
    return [
        Told(block.get("id", ""), block["event"], json.loads(block["data"])) for block in blocks if "event" in block
    ]


def test_an_ended_jobs_stream_has_all_events_and_ends(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=32)
    world.finish(job_id)
    answer = api.get(f"/jobs/{job_id}/events")
    told = parsed(answer.text)
    assert [event.type for event in told] == [
        "job.queued", "job.started", "chunk.completed", "chunk.completed", "job.succeeded",
    ]  # fmt: skip
    assert [event.id for event in told] == ["1-0", "2-0", "3-0", "4-0", "5-0"]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.text.startswith("retry: 2000\n")


def test_a_finished_chunk_carries_its_url(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=16)
    world.finish(job_id)
    event = parsed(api.get(f"/jobs/{job_id}/events").text)[2]
    data = event.data["data"]
    assert isinstance(data, dict)
    assert data["chunk"]["url"] == f"{BASE_URL}/jobs/{job_id}/chunks/0.mp4"


def test_a_stream_resumes_after_the_last_received_event(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=16)
    world.finish(job_id)
    told = parsed(api.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": "2-0"}).text)
    assert [event.type for event in told] == ["chunk.completed", "job.succeeded"]


def test_a_client_that_has_all_events_gets_no_content(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=16)
    world.finish(job_id)
    assert api.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": "4-0"}).status_code == 204


@pytest.mark.parametrize("bad", ["x", "1", "-", "1-2-3", f"{2**64}-0", "$"])
def test_an_id_that_no_event_has_is_refused(api: TestClient, bad: str) -> None:
    answer = api.get(f"/jobs/{submit(api)}/events", headers={"Last-Event-ID": bad})
    assert (answer.status_code, answer.json()["field"]) == (422, "Last-Event-ID")


LONG_SILENCE = replace(QUICK, heartbeat_seconds=60)


def streams_of(world: World, timing: StreamTiming = QUICK) -> Streams:
    return Streams(world.ports(), event_stream_limit(100, 100), timing)


def told_live(world: World, job_id: str, act: Callable[[Event], None], stop_at: str = "") -> str:
    """The stream's text while `act` runs in a thread once the log has been told; up to the end or to `stop_at`.

    `act` is given an event that is set when nobody listens any more.
    """

    async def listen() -> str:
        text, over = "", Event()
        thread = Thread(target=act, args=(over,), daemon=True)
        async for part in follow_job(streams_of(world), job_id, "0-0", PERMIT):
            text += part
            if thread.ident is None and "job.queued" in part:
                thread.start()
            if stop_at and stop_at in part:
                break
        over.set()
        await to_thread.run_sync(thread.join)
        return text

    return anyio.run(listen)


def test_events_arrive_as_they_happen(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=32)
    told = parsed(told_live(world, job_id, lambda _over: world.finish(job_id)))
    assert [event.type for event in told][-2:] == ["chunk.completed", "job.succeeded"]


def test_progress_is_sent_without_an_id(api: TestClient, world: World) -> None:
    job_id = submit(api)
    world.start(job_id)

    def report(over: Event) -> None:
        while not over.wait(0.005):  # progress is for those who listen at that moment: report until one did
            world.step(job_id, 3)

    text = told_live(world, job_id, report, stop_at="job.progress")
    progress = parsed(text)[-1]
    assert (progress.id, progress.type) == ("", "job.progress")
    assert (progress.data["chunk_index"], progress.data["steps"]) == (0, 8)


def test_silence_is_broken_by_comments(api: TestClient, world: World) -> None:
    text = told_live(world, submit(api), lambda _over: None, stop_at="still here")
    assert text.endswith(": still here\n")


def test_readers_that_take_every_empty_line_for_an_event_are_told_events_only(api: TestClient, world: World) -> None:
    """httpx-sse does so after `retry` and after an id (WHATWG HTML, 9.2.6, has it ignore them without data)."""
    text = told_live(world, submit(api), lambda _over: None, stop_at="still here")
    answer = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, text=text)
    events = [*EventSource(answer).iter_sse()]
    assert [event.event for event in events] == ["job.queued"]
    assert events[0].retry == 2000


def test_a_deleted_job_ends_its_stream(api: TestClient, world: World) -> None:
    job_id = submit(api)
    world.start(job_id)

    def delete(_over: Event) -> None:
        world.store.request_delete(job_id)
        world.store.purge(job_id)

    assert "job.succeeded" not in told_live(world, job_id, delete)


def test_a_server_that_stops_ends_its_streams(api: TestClient, world: World) -> None:
    streams, job_id = streams_of(world, LONG_SILENCE), submit(api)

    async def listen() -> list[str]:
        parts = list[str]()
        async for part in follow_job(streams, job_id, "0-0", PERMIT):
            parts.append(part)
            asyncio.get_running_loop().call_later(0.05, streams.stop)  # while it waits
        return parts

    assert "job.queued" in anyio.run(listen)[-1]


def test_waiting_streams_hold_no_threads_that_read_logs(api: TestClient, world: World) -> None:
    streams, job_id = streams_of(world), submit(api)

    async def listen() -> float:
        async with aclosing(follow_job(streams, job_id, "0-0", PERMIT)) as parts:
            async for part in parts:
                if "still here" in part:
                    break
            return streams.limiter.borrowed_tokens
        raise AssertionError

    assert anyio.run(listen) == 0


def test_the_event_of_a_refined_chunk_has_its_url(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=16, refine=True)
    world.make_chunk(job_id)
    world.refine_chunk(job_id)
    world.finalize(job_id)
    event = parsed(api.get(f"/jobs/{job_id}/events").text)[3]
    data = event.data["data"]
    assert isinstance(data, dict)
    assert event.type == "chunk.refined"
    assert data["chunk"]["url"] == f"{BASE_URL}/jobs/{job_id}/chunks/0.mp4?variant=refined"
