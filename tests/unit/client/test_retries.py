"""Which calls are repeated, after what, and how long the pauses are."""

from __future__ import annotations

import json
from collections.abc import Sequence

import httpx
import pytest

from client import ApiError, ApiUnreachable, Conflict, LimitReached, NotFound, ServiceUnavailable
from client.errors import ClientError
from client.retries import MAX_PAUSE_SECONDS, Retries
from core.service.domain.schema import Job
from tests.helpers.shown_jobs import MakeJob
from tests.unit.client.conftest import Ask, Use

CUT = "cut"


class Failing:
    """Fails as told, then answers with the job. CUT is a connection that breaks."""

    def __init__(self, job: Job, *failures: httpx.Response | str) -> None:
        self.requests = list[httpx.Request]()
        self._job = job.model_dump(mode="json")
        self._failures = iter(failures)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        failure = next(self._failures, None)
        if failure is None:
            return httpx.Response(200, json={**self._job, "acts_from_frame": None})
        if isinstance(failure, str):
            raise httpx.ReadError("connection reset", request=request)
        return httpx.Response(failure.status_code, headers=failure.headers, content=failure.content)


def problem(status: int, code: str, retry_after: int | None = 0) -> httpx.Response:
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return httpx.Response(status, json={"code": code}, headers=headers)


@pytest.mark.parametrize(
    "failures",
    [
        [CUT, CUT],
        [problem(503, "store_unavailable"), problem(429, "limit_reached")],
        [problem(408, "request_timeout", None), httpx.Response(502, text="<html>")],
        [CUT, problem(409, "request_in_flight")],
    ],
    ids=["cut connections", "with Retry-After", "408 and a proxy's 502", "first one in flight"],
)
def test_a_creation_is_repeated_under_one_key(
    ask: Ask, make_job: MakeJob, failures: Sequence[httpx.Response | str]
) -> None:
    api = Failing(make_job(), *failures)
    (job,) = ask(api, lambda client: client.jobs.create(prompt="x"), max_retries=2)
    assert job.id == "job_x"
    assert len(api.requests) == 3
    assert len({request.headers["idempotency-key"] for request in api.requests}) == 1
    assert [json.loads(request.content) for request in api.requests] == [{"prompt": "x"}] * 3


REPEATED: dict[str, Use] = {
    "read": lambda job: job.refresh(),
    "cancel": lambda job: job.cancel(),
    "steer": lambda job: job.steer("x"),
    "delete": lambda job: job.delete(),
}
SENT_ONCE: dict[str, Use] = {
    "extend": lambda job: job.extend(16),
    "branch": lambda job: job.branch(1),
    "retry": lambda job: job.retry(),
}


@pytest.mark.parametrize("use", REPEATED.values(), ids=REPEATED)
def test_calls_that_have_one_effect_are_repeated(ask: Ask, make_job: MakeJob, use: Use) -> None:
    api = Failing(make_job(), CUT)
    ask(api, use, job=make_job(), max_retries=1)
    assert len(api.requests) == 2


@pytest.mark.parametrize("use", SENT_ONCE.values(), ids=SENT_ONCE)
def test_calls_that_could_act_twice_are_sent_once(ask: Ask, make_job: MakeJob, use: Use) -> None:
    for failure, kind in ((CUT, ApiUnreachable), (problem(503, "store_unavailable"), ServiceUnavailable)):
        api = Failing(make_job(), failure)
        with pytest.raises(kind):
            ask(api, use, job=make_job(), max_retries=2)
        assert len(api.requests) == 1


def test_a_deletion_whose_answer_was_lost_is_done(ask: Ask, make_job: MakeJob) -> None:
    lost = Failing(make_job(), CUT, problem(404, "job_not_found", None))
    assert ask(lost, lambda job: job.delete(), job=make_job(), max_retries=1) == [None]
    unknown = Failing(make_job(), problem(404, "job_not_found", None))
    with pytest.raises(NotFound):
        ask(unknown, lambda job: job.delete(), job=make_job(), max_retries=1)


def test_the_last_failure_is_raised(ask: Ask, make_job: MakeJob) -> None:
    api = Failing(make_job(), CUT, CUT, problem(503, "store_unavailable"))
    with pytest.raises(ServiceUnavailable):
        ask(api, lambda client: client.jobs.get("job_x"), max_retries=2)
    assert len(api.requests) == 3


@pytest.mark.parametrize(
    "error",
    [
        Conflict("x", status=409, code="job_state_conflict"),
        NotFound("x", status=404, code="video_not_ready", retry_after_seconds=2),
        ServiceUnavailable("x", status=503, code="model_not_installed"),
        LimitReached("x", status=429, code="too_many_uploads"),
        LimitReached("x", status=429, code="limit_reached", retry_after_seconds=MAX_PAUSE_SECONDS + 1),
        ApiError("x", status=500, code="internal_error"),
        ClientError("x"),
    ],
    ids=str,
)
def test_what_a_repetition_does_not_mend_is_raised_at_once(error: ClientError) -> None:
    assert Retries(2, 0.5).pause_after(error) is None


def test_pauses_double_and_never_end_before_retry_after() -> None:
    retries, cut = Retries(3, 0.5), ApiUnreachable("x")
    pauses = [retries.pause_after(cut) or 0.0 for _ in range(3)]
    assert all(least <= pause <= 1.25 * least for pause, least in zip(pauses, (0.5, 1.0, 2.0), strict=True))
    assert retries.pause_after(cut) is None
    retries.reset()
    busy = ServiceUnavailable("x", status=503, code="store_unavailable", retry_after_seconds=5)
    assert 5 <= (retries.pause_after(busy) or 0.0) <= 5.2
