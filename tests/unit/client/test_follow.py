"""Following a job: events first, polling where the stream breaks, progress without reading the job each time."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from client.client import Client
from client.follow import follow, with_progress
from core.service.domain.errors import SetupError
from core.service.domain.schema import Job, JobStatus
from tests.helpers.shown_jobs import MakeJob


class ScriptedApi:
    """Answers GET /jobs/{id} with the next view, and its event stream with the next text; a missing one breaks off."""

    def __init__(self, views: list[Job], streams: list[str]) -> None:
        self._views = iter(views)
        self._streams = iter(streams)
        self.num_reads = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            self.num_reads += 1
            return httpx.Response(200, text=next(self._views).model_dump_json())
        text = next(self._streams, None)
        if text is None:
            raise httpx.ReadError("connection reset", request=request)
        return httpx.Response(200, text=text)


def followed(api: ScriptedApi) -> Iterator[Job]:
    client = Client("http://api.test", transport=httpx.MockTransport(api))
    return follow(client, "job_x", now=lambda: 0.0, sleep=lambda _: None)


def test_steps_move_without_reading_the_job_again(make_job: MakeJob) -> None:
    progress = "".join(
        f'event: job.progress\ndata: {{"step": {n}, "steps": 9, "chunk_index": 0}}\n\n' for n in range(3)
    )
    end = "id: 2-0\nevent: job.succeeded\ndata: {}\n\n"
    api = ScriptedApi([make_job(), make_job(JobStatus.SUCCEEDED, 3)], [progress + end])
    jobs = list(followed(api))
    assert [job.progress.step for job in jobs[1:4]] == [0, 1, 2]
    assert jobs[-1].status is JobStatus.SUCCEEDED
    assert api.num_reads == 2


def test_a_broken_stream_is_replaced_by_polling(make_job: MakeJob) -> None:
    api = ScriptedApi([make_job(), make_job(num_chunks=1), make_job(JobStatus.SUCCEEDED, 3)], [])
    assert [len(job.chunks) for job in followed(api)] == [0, 1, 3]


def test_an_ended_job_is_shown_once(make_job: MakeJob) -> None:
    assert len(list(followed(ScriptedApi([make_job(JobStatus.CANCELED, 1)], [])))) == 1


def test_a_dead_process_of_the_stack_ends_the_wait(make_job: MakeJob) -> None:
    def check() -> None:
        raise SetupError("the API ended")

    client = Client("http://api.test", transport=httpx.MockTransport(ScriptedApi([make_job()], [])))
    with pytest.raises(SetupError):
        list(follow(client, "job_x", check=check))


def test_progress_of_another_chunk_is_left_out(make_job: MakeJob) -> None:
    event = '{"chunk_index": 1, "step": 4, "steps": 9}'
    assert with_progress(make_job(num_chunks=1), event).progress.step == 4
    assert with_progress(make_job(num_chunks=2), event).progress.step == 0


def test_steps_of_refinement_are_its_own(make_job: MakeJob) -> None:
    event = '{"lane": "refine", "chunk_index": 1, "step": 4, "steps": 9}'
    progress = with_progress(make_job(num_chunks=3, num_refined=1), event).progress
    assert (progress.refine_step, progress.refine_steps, progress.steps) == (4, 9, 0)
    assert with_progress(make_job(num_chunks=1, num_refined=0), event).progress.refine_steps == 0
