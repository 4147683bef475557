"""Liveness and readiness: for load balancers, container health checks and a person who wonders why jobs wait."""

from __future__ import annotations

from asyncio import gather
from typing import Annotated, Literal, cast

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from api.backends.readiness import Probes
from core.service.domain.ports import WorkerStatus

router = APIRouter(tags=["health"])


async def _probes(request: Request) -> Probes:
    return cast(Probes, request.app.state.probes)


ProbesOfApp = Annotated[Probes, Depends(_probes)]


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
async def readyz(response: Response, probes: ProbesOfApp) -> Readiness:
    """200 where Redis and the object storage take writes, else 503 with the reason. Answers within two seconds."""
    store, storage = await gather(probes.store.answer(), probes.storage.answer())
    ready = store.reason is None and storage.reason is None
    response.status_code = 200 if ready else 503
    response.headers["Cache-Control"] = "no-store"
    return Readiness(
        status="ready" if ready else "not_ready",
        redis=Check(ok=store.reason is None, reason=store.reason),
        storage=Check(ok=storage.reason is None, reason=storage.reason),
        workers=list(store.said or ()),
    )
