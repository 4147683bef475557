"""Liveness and readiness, for load balancers, container health checks and operators."""

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


ProbesDep = Annotated[Probes, Depends(_probes)]


class Alive(BaseModel):
    status: Literal["ok"] = "ok"


class Check(BaseModel):
    """One dependency. `reason`: why it cannot be used."""

    ok: bool
    reason: str | None


class Readiness(BaseModel):
    """Ready means that jobs can be accepted. Workers are listed only: without any, jobs wait."""

    status: Literal["ready", "not_ready"]
    redis: Check
    storage: Check
    workers: list[WorkerStatus] = Field(description="Worker processes; `reason`: why one is not ready.")


@router.get("/healthz", summary="Liveness")
async def healthz() -> Alive:
    """The API process is running. Does not check Redis or the storage."""
    return Alive()


@router.get("/readyz", summary="Readiness", responses={503: {"model": Readiness}})
async def readyz(response: Response, probes: ProbesDep) -> Readiness:
    """200 if Redis and the object storage accept writes, else 503 with the reasons. Responds within two seconds."""
    store, storage = await gather(probes.store.result(), probes.storage.result())
    ready = store.reason is None and storage.reason is None
    response.status_code = 200 if ready else 503
    response.headers["Cache-Control"] = "no-store"
    return Readiness(
        status="ready" if ready else "not_ready",
        redis=Check(ok=store.reason is None, reason=store.reason),
        storage=Check(ok=storage.reason is None, reason=storage.reason),
        workers=list(store.value or ()),
    )
