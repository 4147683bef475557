"""The log of a job that has not ended is read to what the job shows, and no further event is waited for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx
import pytest

from core.service.domain.schema import BranchSource, Job, JobStatus
from tests.helpers.shown_jobs import MakeJob
from tests.unit.client.conftest import Ask

QUEUED: tuple[str, dict[str, Any]] = ("job.queued", {"version": 0})
STARTED: tuple[str, dict[str, Any]] = ("job.started", {"version": 0})
PROGRESS: tuple[str, dict[str, Any]] = ("job.progress", {})


def made(index: int, version: int, kind: str = "chunk.completed") -> tuple[str, dict[str, Any]]:
    return kind, {"version": version, "chunk": {"index": index}}


class StillOpen(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A stream with these events, after which a reader would wait for ever: reading on fails the test."""

    def __init__(self, events: Sequence[tuple[str, dict[str, Any]]]) -> None:
        self._events = events

    def _parts(self) -> Iterator[bytes]:
        for number, (kind, data) in enumerate(self._events, 1):
            yield f"id: {number}-0\nevent: {kind}\ndata: {json.dumps({'data': data})}\n\n".encode()

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts()
        raise AssertionError("read on")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts():
            yield part
        raise AssertionError("read on")


def past(ask: Ask, job: Job, *events: tuple[str, dict[str, Any]]) -> list[str]:
    """Types of the past events of a job, whose stream has these and stays open."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(200, stream=StillOpen(events))
        return httpx.Response(200, text=job.model_dump_json())

    (found,) = ask(answer, lambda handle: handle.past_events(), job=job)
    return [event.type for event in found]


def test_a_running_job_is_read_to_its_newest_chunk(ask: Ask, make_job: MakeJob) -> None:
    events = [QUEUED, STARTED, made(0, 1), made(1, 2)]
    assert past(ask, make_job(num_chunks=2), *events) == [kind for kind, _ in events]


def test_a_running_job_without_a_chunk_is_read_to_its_start(ask: Ask, make_job: MakeJob) -> None:
    assert past(ask, make_job(), QUEUED, STARTED) == ["job.queued", "job.started"]


def test_refined_chunks_count_too(ask: Ask, make_job: MakeJob) -> None:
    refined = make_job(num_chunks=2, num_refined=1).model_copy(update={"version": 3})
    events = [QUEUED, STARTED, made(0, 1), made(1, 2), made(0, 3, "chunk.refined")]
    assert past(ask, refined, *events)[-1] == "chunk.refined"


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED])
def test_an_ended_job_is_read_to_its_end(ask: Ask, make_job: MakeJob, status: JobStatus) -> None:
    events = [QUEUED, STARTED, made(0, 1), (f"job.{status}", {"version": 1})]
    assert past(ask, make_job(status, 1), *events)[-1] == f"job.{status}"


def test_the_end_of_an_earlier_generation_is_not_the_last_event(ask: Ask, make_job: MakeJob) -> None:
    before = [QUEUED, STARTED, made(0, 1), ("job.succeeded", {"version": 1})]
    again = ("job.queued", {"version": 1, "generation": 1})
    extended = make_job(JobStatus.QUEUED, 1).model_copy(update={"generation": 1})
    assert past(ask, extended, *before, again)[-1] == "job.queued"
    running = make_job(num_chunks=1).model_copy(update={"generation": 1})
    assert past(ask, running, *before, again, ("job.started", {"version": 1}))[-1] == "job.started"
    ended = make_job(JobStatus.SUCCEEDED, 2).model_copy(update={"generation": 1})
    rest = [("job.started", {"version": 1}), made(1, 2), ("job.succeeded", {"version": 2})]
    assert len(past(ask, ended, *before, again, *rest)) == 8


def test_copies_of_a_branch_are_not_waited_for(ask: Ask, make_job: MakeJob) -> None:
    source = BranchSource(job_id="job_y", from_chunk=2)
    branch = make_job(num_chunks=2).model_copy(update={"version": 0, "branched_from": source})
    assert past(ask, branch, QUEUED, STARTED) == ["job.queued", "job.started"]


def test_a_log_without_its_beginning_is_read_to_the_newest_chunk_too(ask: Ask, make_job: MakeJob) -> None:
    endless = make_job(num_chunks=5000)
    assert past(ask, endless, made(4998, 4999), made(4999, 5000)) == ["chunk.completed"] * 2


def test_progress_shows_that_there_is_no_more_and_is_left_out(ask: Ask, make_job: MakeJob) -> None:
    trimmed = make_job(num_chunks=2, num_refined=2).model_copy(update={"version": 9})
    assert past(ask, trimmed, made(1, 3, "chunk.refined"), PROGRESS) == ["chunk.refined"]
