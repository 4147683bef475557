"""POST /jobs/batch: many jobs in one request, each answered by itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from api.access.links import BaseUrl
from api.backends.ports import PortsDep
from api.creation.creator import Created, Wanted
from api.http import idempotency
from api.http.host_lookup import look_up
from api.http.idempotency import IdempotencyKey, fingerprint_of
from api.http.openapi import BATCH_BODY, may_fail
from api.http.paths import prefix_of
from api.http.problems import BodyTooLarge, Problem, note, problem_of
from api.http.responses import MAX_BODY_BYTES, LargeJsonBody
from api.routes.answers import Forecasts, json_answer
from api.routes.create import CreatorDep
from core.service.admission.request_body import parse_body, parse_request
from core.service.domain.errors import LongtakeError
from core.service.domain.schema import Frozen, JobRequest, JobSummary
from core.service.domain.views import PublicUrls, job_summary

MAX_BATCH = 100
router = APIRouter(tags=["jobs"])


class JobBatch(Frozen):
    """Body of POST /jobs/batch."""

    jobs: list[Any] = Field(
        min_length=1,
        max_length=MAX_BATCH,
        description="Bodies of POST /jobs.",
        json_schema_extra={"items": {"$ref": "#/components/schemas/JobRequest"}},
    )


class BatchResult(BaseModel):
    """What POST /jobs would have answered to one of the requests: `job` or `error`."""

    status: int = Field(description="202: created; 200: an earlier batch with this Idempotency-Key created it.")
    job: JobSummary | None = None
    error: Problem | None = None


class BatchResults(BaseModel):
    """Answer of POST /jobs/batch."""

    results: list[BatchResult] = Field(description="One for each request, in order.")


@dataclass(frozen=True)
class _Sent:
    """One request of a batch, or why it is refused. `fingerprint` is of the request as it was sent."""

    parsed: JobRequest | LongtakeError
    fingerprint: str


def _sent(body: LargeJsonBody) -> list[_Sent]:  # no coroutine: FastAPI runs it in a thread
    return [_Sent(_parsed(each), fingerprint_of(each)) for each in parse_body(body, JobBatch).jobs]


@router.post(
    "/jobs/batch",
    summary="Submit up to 100 jobs",
    openapi_extra={**BATCH_BODY, "parameters": [idempotency.PARAMETER]},
    responses={200: {"model": BatchResults}, **may_fail(400, 413, 415, 422, 503)},
)
async def submit_batch(
    sent: Annotated[list[_Sent], Depends(_sent)],
    request: Request,
    key: IdempotencyKey,
    ports: PortsDep,
    creator: CreatorDep,
    base_url: BaseUrl,
) -> Response:
    """Each request is answered by itself, in order; one that is refused stops no other. `Idempotency-Key` acts on each
    request and its place: after a failure send the same batch again, and only the jobs that are missing are created."""
    hosts = await look_up([each.parsed for each in sent if isinstance(each.parsed, JobRequest)], request, ports)
    wanted = {  # no key of a single request has a line break
        index: Wanted(each.parsed, each.fingerprint, hosts, key and f"{key}\n{index}")
        for index, each in enumerate(sent)
        if isinstance(each.parsed, JobRequest)
    }
    created = dict(zip(wanted, await creator.create_all([*wanted.values()]), strict=True))
    refused = {index: each.parsed for index, each in enumerate(sent) if isinstance(each.parsed, LongtakeError)}
    outcomes = [(created | refused)[index] for index in range(len(sent))]
    return await run_in_threadpool(_answer, outcomes, request, base_url, Forecasts(ports))


def _parsed(body: object) -> JobRequest | LongtakeError:
    try:
        _check_size(body)
        return parse_request(body)
    except LongtakeError as error:
        return error


def _check_size(body: object) -> None:
    """Raises BodyTooLarge if POST /jobs would not take this body, however densely it is written."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode(errors="surrogatepass")) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"the request has more than {MAX_BODY_BYTES} bytes", fix="send a smaller one")


def _answer(
    outcomes: list[Created | LongtakeError], request: Request, base_url: PublicUrls, forecasts: Forecasts
) -> Response:
    results = [_result(outcome, request, base_url, forecasts) for outcome in outcomes]
    return json_answer(BatchResults(results=results).model_dump_json(), 200, {})


def _result(
    outcome: Created | LongtakeError, request: Request, base_url: PublicUrls, forecasts: Forecasts
) -> BatchResult:
    if isinstance(outcome, Created):
        job = job_summary(outcome.record, forecasts.progress(outcome.record, outcome.live), base_url)
        return BatchResult(status=202 if outcome.is_new else 200, job=job)
    note(request, outcome)
    problem = problem_of(outcome, prefix_of(request.scope))
    return BatchResult(status=problem.status, error=problem)
