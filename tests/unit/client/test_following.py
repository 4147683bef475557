"""Following a job: events first, polling if the stream breaks, progress without reading the job each time."""

from __future__ import annotations

import httpx

from client.following import REFRESH_SECONDS, Following, with_progress
from client.sse import ServerEvent, parse_events
from core.service.domain.schema import Job, JobStatus
from tests.helpers.shown_jobs import MakeJob
from tests.unit.client.conftest import Ask


class ScriptedApi:
    """Answers GET /jobs/{id} with the next view, and its event stream with the next text; a missing one breaks off."""

    def __init__(self, views: list[Job], streams: list[str]) -> None:
        self._views = iter(views)
        self._streams = iter(streams)
        self.resumed_after: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, text=next(self._views).model_dump_json())
        self.resumed_after.append(request.headers.get("last-event-id", ""))
        text = next(self._streams, None)
        if text is None:
            raise httpx.ReadError("connection reset", request=request)
        return httpx.Response(200, text=text)


def progress(step: int, chunk_index: int = 0) -> str:
    return f'{{"step": {step}, "steps": 9, "chunk_index": {chunk_index}}}'


def test_the_job_is_yielded_after_each_event_and_last_when_it_has_ended(ask: Ask, make_job: MakeJob) -> None:
    stream = "id: 1-0\nevent: chunk.completed\ndata: {}\n\nid: 2-0\nevent: job.succeeded\ndata: {}\n\n"
    api = ScriptedApi([make_job(), make_job(num_chunks=1), make_job(JobStatus.SUCCEEDED, 3)], [stream])
    (jobs,) = ask(api, ("follow", "job_x"))
    assert [job.progress.chunks_done for job in jobs] == [0, 1, 3]
    assert jobs[-1].status is JobStatus.SUCCEEDED


def test_a_stream_that_ends_early_is_resumed_after_its_last_event(ask: Ask, make_job: MakeJob) -> None:
    streams = ["id: 5-0\nevent: job.started\ndata: {}\n\n", "id: 6-0\nevent: job.succeeded\ndata: {}\n\n"]
    api = ScriptedApi([make_job(), make_job(), make_job(num_chunks=1), make_job(JobStatus.SUCCEEDED, 3)], streams)
    ask(api, ("follow", "job_x"))
    assert api.resumed_after == ["", "5-0"]


def test_a_broken_stream_is_replaced_by_polling(ask: Ask, make_job: MakeJob) -> None:
    api = ScriptedApi([make_job(), make_job(num_chunks=1), make_job(JobStatus.SUCCEEDED, 3)], [])
    (jobs,) = ask(api, ("follow", "job_x"))
    assert [job.progress.chunks_done for job in jobs] == [0, 1, 3]


def test_an_ended_job_is_shown_once(ask: Ask, make_job: MakeJob) -> None:
    (jobs,) = ask(ScriptedApi([make_job(JobStatus.CANCELED, 1)], []), ("follow", "job_x"))
    assert len(jobs) == 1


def test_steps_move_without_reading_the_job_again_until_it_is_old(make_job: MakeJob) -> None:
    following = Following(make_job(), read_at=10.0)
    assert not following.apply(ServerEvent("", "job.progress", progress(4)), now=10.5)
    assert following.job.progress.step == 4
    assert following.apply(ServerEvent("", "job.progress", progress(5)), now=10.0 + REFRESH_SECONDS)
    assert following.last_event_id == ""


def test_a_logged_event_moves_the_resume_point_and_asks_for_the_job(make_job: MakeJob) -> None:
    following = Following(make_job(), read_at=0.0)
    assert following.apply(ServerEvent("3-0", "chunk.completed", "{}"), now=0.0)
    following.refresh(make_job(JobStatus.SUCCEEDED, 3), now=0.1)
    assert following.last_event_id == "3-0"
    assert following.has_ended


def test_progress_of_another_chunk_is_left_out(make_job: MakeJob) -> None:
    assert with_progress(make_job(num_chunks=1), progress(4, chunk_index=1)).progress.step == 4
    assert with_progress(make_job(num_chunks=2), progress(4, chunk_index=1)).progress.step == 0


def test_steps_of_refinement_are_its_own(make_job: MakeJob) -> None:
    event = '{"lane": "refine", "chunk_index": 1, "step": 4, "steps": 9}'
    shown = with_progress(make_job(num_chunks=3, num_refined=1), event).progress
    assert (shown.refine_step, shown.refine_steps, shown.steps) == (4, 9, 0)
    assert with_progress(make_job(num_chunks=1, num_refined=0), event).progress.refine_steps == 0


def test_event_data_of_several_lines_is_joined() -> None:
    assert list(parse_events(["data: a", "data:b", "", ": comment", ""])) == [ServerEvent("", "message", "a\nb")]
