"""GET /status, for operators: what workers are making, what waits, how fast it goes. `longtake status` shows it."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request, Response

from api.backends.readiness import Probe
from api.http.examples import STATUS_EXAMPLE
from api.http.openapi import may_fail
from core.service.domain.errors import StoreUnavailable
from core.service.domain.service_status import ServiceStatus

router = APIRouter(tags=["health"])


@router.get(
    "/status",
    summary="Workers, queues and rates",
    responses={200: {"content": {"application/json": {"example": STATUS_EXAMPLE}}}, **may_fail(503)},
)
async def read_status(request: Request, response: Response) -> ServiceStatus:
    """What the workers are making, what waits for them, what is paused, and how fast it goes. For operators: where keys
    are used it needs one of the scope `admin`. Read at most once a second by each API process however many ask, within
    two seconds; its cost grows with models and workers, not with jobs."""
    read = await cast("Probe[ServiceStatus]", request.app.state.service_status).result()
    if read.value is None:
        raise StoreUnavailable(f"the status cannot be read: {read.reason}")
    response.headers["Cache-Control"] = "no-store"
    return read.value
