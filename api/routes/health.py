"""Liveness and readiness: for load balancers, container health checks and a person who wonders why jobs wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from api.ports import PortsOfApp
from core.service.errors import LongtakeError, StoreError
from core.service.ports import WorkerStatus

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    status: Literal["ok"] = "ok"


class Check(BaseModel):
    """One dependency. `reason` says what is wrong with it."""

    ok: bool
    reason: str | None


class Readiness(BaseModel):
    """Ready means that jobs can be taken in. Workers are listed, but jobs wait for them without being lost."""

    status: Literal["ready", "not_ready"]
    redis: Check
    storage: Check
    workers: list[WorkerStatus] = Field(description="Worker processes; `reason` tells why one is not ready.")


@router.get("/healthz", summary="The process is alive")
async def healthz() -> Alive:
    """Asks nothing of Redis or the storage."""
    return Alive()


@router.get("/readyz", summary="Jobs can be taken in", responses={503: {"model": Readiness}})
def readyz(response: Response, ports: PortsOfApp) -> Readiness:
    """200 where Redis and the object storage answer, else 503 with the reason."""
    redis, storage = _check(ports.store.ping), _check(ports.storage.check)
    ready = redis.ok and storage.ok
    response.status_code = 200 if ready else 503
    response.headers["Cache-Control"] = "no-store"
    return Readiness(
        status="ready" if ready else "not_ready",
        redis=redis,
        storage=storage,
        workers=_workers(ports) if redis.ok else [],
    )


def _check(attempt: Callable[[], None]) -> Check:
    try:
        attempt()
    except LongtakeError as error:
        return Check(ok=False, reason=error.message)
    return Check(ok=True, reason=None)


def _workers(ports: PortsOfApp) -> list[WorkerStatus]:
    try:
        return list(ports.workers.all())
    except StoreError:  # gone since it was asked a moment ago
        return []
