"""Endpoint that revokes the links of a job."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.backends.ports import PortsDep
from api.http.openapi import may_fail
from api.routes.jobs import JobId
from core.service.domain.link_tokens import new_link_secret
from core.service.records.manifest_writer import write_manifest

router = APIRouter(tags=["jobs"])


@router.post(
    "/jobs/{job_id}/revoke-links",
    status_code=204,
    summary="Revoke all links of a job",
    response_class=Response,
    responses={204: {"description": "Revoked."}, **may_fail(404, 503)},
)
def revoke_links(job_id: JobId, ports: PortsDep) -> Response:
    """The tokens in all links of the job that were given out are refused from now on; GET the job for new links. What
    a cache holds of a link may be served for as long as the link would have been valid, at most a day."""
    record = ports.store.revoke_links(job_id, new_link_secret())
    write_manifest(ports.store, ports.storage, record)
    return Response(status_code=204)
