"""GET /metrics, for Prometheus. Not in the OpenAPI document: it is for operators, and its form is Prometheus' own."""

from __future__ import annotations

import logging
from typing import cast

from fastapi import APIRouter, Request, Response

from api.backends.readiness import Probe
from api.metrics import ApiMetrics, ServiceCounts

_log = logging.getLogger(__name__)
router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Answers within two seconds, also if Redis hangs."""
    read = await cast("Probe[ServiceCounts]", request.app.state.service_counts).result()
    if read.value is None:
        _log.warning("metrics of jobs and workers are left out: %s", read.reason)
    text, media_type = cast(ApiMetrics, request.app.state.metrics).text(read.value, request.headers.get("accept", ""))
    return Response(text, headers={"Content-Type": media_type, "Cache-Control": "no-store"})
