"""The endpoints of event streams, of one job and of all; the streams themselves are in api/events/."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from api.access.links import BY_LINK
from api.access.streams import ListStreamPermit, StreamPermit
from api.events.all_jobs import OverviewsDep, follow_all
from api.events.sse import LOG_START, EventStreamResponse, FollowingResponse, StreamsDep, follow_job
from api.http.client_limits import client_of
from api.http.openapi import may_fail
from api.routes.jobs import JobId
from core.service.domain.errors import InvalidField, StoreError

router = APIRouter(tags=["jobs"])
_STREAM_ID = re.compile(r"(\d{1,20})-(\d{1,20})", re.ASCII)
_EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string", "description": "Send the last one as Last-Event-ID to resume. None of job.progress."},
        "event": {"type": "string", "description": "Type of the event; `job.progress` or one of the log."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("JobEvent", "StepProgress")]
            },
        },
        "retry": {"type": "integer", "description": "Milliseconds to wait before connecting again."},
    },
}
_OF_ALL = {
    "jobs.ready": "What changes from now on is told: read the list now.",
    "job.changed": "`data` is the job, as GET /jobs lists it.",
    "job.deleted": "`data` has the `id`.",
}
_OVERVIEW_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {
            "type": "string",
            "enum": [*_OF_ALL],
            "description": " ".join(f"`{name}`: {text}" for name, text in _OF_ALL.items()),
        },
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/JobSummary"},
        },
    },
}
_STREAM = {"schema": {"type": "string"}, "itemSchema": _EVENT_SCHEMA}  # OpenAPI 3.2, which readers of 3.1 pass over
_OVERVIEW = {"schema": {"type": "string"}, "itemSchema": _OVERVIEW_SCHEMA}


@router.get(
    "/jobs/{job_id}/events",
    dependencies=BY_LINK,
    summary="Follow a job as server-sent events",
    response_class=EventStreamResponse,
    responses={
        200: {"description": "The stream.", "content": {EventStreamResponse.media_type: _STREAM}},
        204: {"description": "The job has ended and there are no events after Last-Event-ID: do not reconnect."},
        **may_fail(404, 422, 429, 503),
    },
)
async def events(
    job_id: JobId,
    request: Request,
    streams: StreamsDep,
    permit: StreamPermit,
    last_event_id: Annotated[str, Header(description="Resume after this event.")] = LOG_START,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """All past events of the job, then each one as it happens. Ends after the job's last event; of a job that is then
    measured, connect again with Last-Event-ID to wait for `job.measured`.

    Logged events have ids; `job.progress` (every denoising step) has none. `chunk.completed` and `chunk.refined` have
    the chunk's URL. A comment is sent every 15 seconds of silence, also during an outage of Redis, after which the
    stream continues.
    """
    after = _checked(last_event_id)
    streams.limit.check(client_of(request.scope))
    try:
        if await streams.has_nothing_after(job_id, after):
            return Response(status_code=204)
    except StoreError:
        # A browser's EventSource, which accepts this type, never reconnects after a 503: it gets a stream that waits.
        if EventStreamResponse.media_type not in accept:
            raise
    return FollowingResponse(streams, partial(follow_job, streams, job_id, after, permit))


@router.get(
    "/events",
    summary="Follow all jobs as server-sent events",
    response_class=EventStreamResponse,
    responses={
        200: {"description": "The stream.", "content": {EventStreamResponse.media_type: _OVERVIEW}},
        **may_fail(429, 503),
    },
)
async def all_events(
    request: Request, streams: StreamsDep, overviews: OverviewsDep, permit: ListStreamPermit
) -> Response:
    """Each job of the key as it is whenever it has changed, at most once a second, until the client leaves.

    First comes `jobs.ready`: read the list then, and nothing is missed; also after a reconnect, as there are no ids to
    resume from. In sight are the newest 100 jobs, all that come, and those that have not ended. For every event of one
    job, and its chunks, follow that job.
    """
    streams.limit.check(client_of(request.scope))
    return FollowingResponse(streams, partial(follow_all, streams, overviews, permit))


def _checked(event_id: str) -> str:
    """Raises InvalidField unless `event_id` is a Redis stream id: two 64-bit numbers."""
    match = _STREAM_ID.fullmatch(event_id)
    if not match or any(int(number) >= 2**64 for number in match.groups()):
        raise InvalidField("Last-Event-ID is not an event id", field="Last-Event-ID", fix="use an id from the stream")
    return event_id
