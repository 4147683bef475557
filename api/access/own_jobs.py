"""Which jobs a caller may see: those of its key, or the one of its link. All others are not found."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from api.access.caller import caller_of
from api.access.known_keys import known_keys_of
from api.access.links import checked, opens_by_link
from api.backends.looks import Looks
from api.backends.ports import ports_of
from core.service.domain.errors import JobNotFound, KeyRefused, shortened
from core.service.domain.ports import Look


async def own_job(request: Request) -> Look | None:
    """A dependency of all routes: acts on those with `job_id` in their path. The job as it is now; None if everybody
    may see all jobs, or if the request creates the job of this id.

    Raises JobNotFound, the same for a job of another key as for none; LinkExpired, KeyRefused; StoreError,
    StorageError.
    """
    job_id, caller = request.path_params.get("job_id"), caller_of(request)
    if job_id is None or caller.is_everybody or (request.method == "PUT" and _is_whole_job(request)):
        return None
    looks = cast(Looks, request.app.state.looks)
    if caller.token is not None:
        if not opens_by_link(request):
            raise KeyRefused
        return await checked(caller.token, job_id, looks, known_keys_of(request), ports_of(request).clock.now())
    seen = await looks.look(job_id)
    if not caller.owns(seen.record):
        raise JobNotFound(f"there is no job {shortened(job_id, 64)}")
    return seen


def _is_whole_job(request: Request) -> bool:
    return cast(APIRoute, request.scope["route"]).path == "/jobs/{job_id}"


OwnLook = Annotated[Look | None, Depends(own_job)]
