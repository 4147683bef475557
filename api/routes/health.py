"""Liveness and readiness, for load balancers, container health checks and operators."""

from __future__ import annotations

from asyncio import gather
from datetime import datetime
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from api.access.caller import Caller, CallerDep
from api.backends.readiness import Probes, WorkersSeen
from core.service.domain.ports import WorkerKind, WorkerState, WorkerStatus
from core.service.domain.schema import Shown

router = APIRouter(tags=["health"])


async def _probes(request: Request) -> Probes:
    return cast(Probes, request.app.state.probes)


ProbesDep = Annotated[Probes, Depends(_probes)]
FOR_OPERATORS = "Where keys are used, null without one of the scope `admin`."
_HIDDEN = ("name", "reason", "pid", "cuda_visible_devices", "job_id")


class Alive(Shown):
    status: Literal["ok"] = "ok"


class Check(Shown):
    """One dependency."""

    ok: bool
    reason: str | None = Field(description=f"Why it cannot be used. {FOR_OPERATORS}")


class WorkerView(Shown):
    """A worker process."""

    name: str | None = Field(description=FOR_OPERATORS)
    kind: WorkerKind
    model: str | None
    state: WorkerState
    reason: str | None = Field(description=f"Why it is not ready. {FOR_OPERATORS}")
    device: str
    pid: int | None = Field(description=FOR_OPERATORS)
    cuda_visible_devices: str | None = Field(description=FOR_OPERATORS)
    job_id: str | None = Field(description=f"The job that it makes. {FOR_OPERATORS}")
    started_at: datetime
    paused: bool = Field(description="It finishes what it is making, and begins nothing more, until `longtake resume`.")


class Readiness(Shown):
    """Ready means that jobs can be accepted. Workers are listed only: without any, or while they are paused, jobs
    wait."""

    status: Literal["ready", "not_ready"]
    redis: Check
    storage: Check
    paused: bool = Field(description="Everything, a model or a worker is paused: GET /status says what.")
    workers: list[WorkerView]


@router.get("/healthz", summary="Liveness")
async def healthz() -> Alive:
    """The API process is running. Does not check Redis or the storage."""
    return Alive()


@router.get("/readyz", summary="Readiness", responses={503: {"model": Readiness}})
async def readyz(response: Response, probes: ProbesDep, caller: CallerDep) -> Readiness:
    """200 if Redis and the object storage accept writes, else 503. Responds within two seconds. Open to all; where keys
    are used, reasons, names and jobs are shown to a key of the scope `admin` only."""
    store, storage = await gather(probes.store.result(), probes.storage.result())
    seen = store.value or WorkersSeen([], {})
    ready = store.reason is None and storage.reason is None
    response.status_code = 200 if ready else 503
    response.headers["Cache-Control"] = "no-store"
    return Readiness(
        status="ready" if ready else "not_ready",
        redis=_check(store.reason, caller),
        storage=_check(storage.reason, caller),
        paused=bool(seen.paused),
        workers=[_view(status, seen.is_paused(status), caller) for status in seen.workers],
    )


def _check(reason: str | None, caller: Caller) -> Check:
    return Check(ok=reason is None, reason=reason if caller.sees_all else None)


def _view(status: WorkerStatus, is_paused: bool, caller: Caller) -> WorkerView:
    hidden = {} if caller.sees_all else dict.fromkeys(_HIDDEN)
    shown: dict[str, Any] = {**dict(status), "paused": is_paused, **hidden}
    return WorkerView(**shown)
