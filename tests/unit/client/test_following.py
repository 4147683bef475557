"""Following a job: events first, polling if the stream breaks, progress without reading the job each time."""

from __future__ import annotations

import httpx
import pytest

from client import ApiUnreachable, WaitTimeout
from client.following import REFRESH_SECONDS, Following, with_progress
from client.sse import ServerEvent, parse_events
from core.service.domain.schema import Job, JobStatus
from tests.helpers.shown_jobs import MakeJob, chunk
from tests.unit.client.conftest import Ask

STARTED = "id: 5-0\nevent: job.started\ndata: {}\n\n"
SUCCEEDED = "id: 6-0\nevent: job.succeeded\ndata: {}\n\n"


class ScriptedApi:
    """Answers GET /jobs/{id} with the next view, its event stream with the next answer (a missing one breaks off), and
    its list of chunks with those that the last view counts."""

    def __init__(self, views: list[Job], streams: list[str | httpx.Response]) -> None:
        self._views = iter(views)
        self._streams = iter(streams)
        self._last = views[0]
        self.resumed_after: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return self._stream(request)
        if request.url.path.endswith("/chunks"):
            return self._chunks(int(request.url.params["after"]))
        self._last = next(self._views)
        return httpx.Response(200, text=self._last.model_dump_json())

    def _stream(self, request: httpx.Request) -> httpx.Response:
        self.resumed_after.append(request.headers.get("last-event-id", ""))
        stream = next(self._streams, None)
        if stream is None:
            raise httpx.ReadError("connection reset", request=request)
        return httpx.Response(200, text=stream) if isinstance(stream, str) else stream

    def _chunks(self, after: int) -> httpx.Response:
        page = [chunk(index).model_dump(mode="json") for index in range(after + 1, self._last.progress.chunks_done)]
        next_after = after + 2 if len(page) > 2 else None
        return httpx.Response(200, json={"status": self._last.status, "chunks": page[:2], "next_after": next_after})


def progress(step: int, chunk_index: int = 0) -> str:
    return f'{{"step": {step}, "steps": 9, "chunk_index": {chunk_index}}}'


def completed(number: int, index: int) -> str:
    return f'id: {number}-0\nevent: chunk.completed\ndata: {{"data": {{"chunk": {{"index": {index}}}}}}}\n\n'


def test_the_job_is_yielded_after_each_event_and_last_when_it_has_ended(ask: Ask, make_job: MakeJob) -> None:
    api = ScriptedApi(
        [make_job(), make_job(num_chunks=1), make_job(JobStatus.SUCCEEDED, 3)], [completed(1, 0) + SUCCEEDED]
    )
    (jobs,) = ask(api, lambda job: job.follow(), job=make_job())
    assert [job.progress.chunks_done for job in jobs] == [0, 1, 3]
    assert jobs[-1].status is JobStatus.SUCCEEDED


def test_a_stream_that_ends_early_is_resumed_after_its_last_event(ask: Ask, make_job: MakeJob) -> None:
    views = [make_job(), make_job(), make_job(num_chunks=1), make_job(JobStatus.SUCCEEDED, 3)]
    api = ScriptedApi(views, [STARTED, SUCCEEDED])
    ask(api, lambda job: job.follow(), job=make_job())
    assert api.resumed_after == ["", "5-0"]


@pytest.mark.parametrize("status", [None, 429, 503])
def test_a_stream_that_breaks_or_is_refused_is_replaced_by_polling(
    ask: Ask, make_job: MakeJob, status: int | None
) -> None:
    refused = [] if status is None else [httpx.Response(status, headers={"retry-after": "30"}) for _ in range(9)]
    api = ScriptedApi([make_job(), make_job(num_chunks=1), make_job(JobStatus.SUCCEEDED, 3)], [*refused])
    (jobs,) = ask(api, lambda job: job.follow(), job=make_job())
    assert [job.progress.chunks_done for job in jobs] == [0, 1, 3]
    assert len(api.resumed_after) == (2 if status is None else 1)


def test_an_ended_job_is_shown_once(ask: Ask, make_job: MakeJob) -> None:
    (jobs,) = ask(ScriptedApi([make_job(JobStatus.CANCELED, 1)], []), lambda job: job.follow(), job=make_job())
    assert len(jobs) == 1


def test_a_wait_returns_the_ended_job(ask: Ask, make_job: MakeJob) -> None:
    api = ScriptedApi([make_job(), make_job(JobStatus.FAILED)], ["id: 6-0\nevent: job.failed\ndata: {}\n\n"])
    (job,) = ask(api, lambda job: job.wait(), job=make_job())
    assert job.status is JobStatus.FAILED


def test_a_wait_gives_up_in_time(ask: Ask, make_job: MakeJob) -> None:
    with pytest.raises(WaitTimeout, match="still running"):
        ask(ScriptedApi([make_job()], []), lambda job: job.wait(0), job=make_job())


def test_chunks_follow_live_and_none_is_missed_or_doubled_by_a_cut_stream(ask: Ask, make_job: MakeJob) -> None:
    views = [make_job(num_chunks=1), make_job(num_chunks=1), make_job(num_chunks=2), make_job(JobStatus.SUCCEEDED, 5)]
    streams: list[str | httpx.Response] = [STARTED, completed(7, 0) + completed(8, 1) + SUCCEEDED]
    api = ScriptedApi(views, streams)
    (chunks,) = ask(api, lambda job: job.chunks(), job=make_job())
    assert [chunk.index for chunk in chunks] == [0, 1, 2, 3, 4]
    assert api.resumed_after == ["", "5-0"]


def test_chunks_of_now_end_although_the_job_goes_on(ask: Ask, make_job: MakeJob) -> None:
    (chunks,) = ask(ScriptedApi([make_job(num_chunks=3)], []), lambda job: job.chunks(0, live=False), job=make_job())
    assert [chunk.index for chunk in chunks] == [1, 2]


def test_events_resume_by_themselves_until_there_are_no_more(ask: Ask, make_job: MakeJob) -> None:
    api = ScriptedApi([make_job()], [STARTED, httpx.Response(503, headers={"retry-after": "0"}), SUCCEEDED])
    (events,) = ask(api, lambda job: job.events("4-0"), job=make_job(), max_retries=1)
    assert [event.type for event in events] == ["job.started", "job.succeeded"]
    assert api.resumed_after == ["4-0", "5-0", "5-0"]
    assert ask(lambda _: httpx.Response(204), lambda job: job.events("6-0"), job=make_job()) == [[]]


def test_events_give_up_after_failures_in_a_row(ask: Ask, make_job: MakeJob) -> None:
    api = ScriptedApi([make_job()], [STARTED])
    with pytest.raises(ApiUnreachable):
        ask(api, lambda job: job.events(), job=make_job(), max_retries=2)
    assert len(api.resumed_after) == 4


def test_an_event_s_data_is_read() -> None:
    assert ServerEvent("1-0", "job.started", '{"job_id": "job_x"}').json() == {"job_id": "job_x"}


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


def test_events_about_chunks_that_are_known_do_not_ask_for_the_job(make_job: MakeJob) -> None:
    following = Following(make_job(num_chunks=2), read_at=0.0)
    events = parse_events((completed(1, 1) + completed(2, 2)).splitlines())
    assert [following.apply(event, now=0.0) for event in events] == [False, True]
    assert following.last_event_id == "2-0"


def test_progress_is_no_reason_to_read_a_job_whose_end_is_waited_for(make_job: MakeJob) -> None:
    following = Following(make_job(), read_at=0.0, shows_progress=False)
    assert not following.apply(ServerEvent("", "job.progress", progress(5)), now=REFRESH_SECONDS)


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
