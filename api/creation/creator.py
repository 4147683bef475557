"""Admits requests and creates their jobs, one or many. What waits for others (a language model) holds no thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from fastapi.concurrency import run_in_threadpool

from api.access.caller import Caller
from api.access.owner_limits import OwnerLimits
from api.backends.ports import Ports
from api.creation.claims import Claim, Claims
from api.creation.uploads import SentFile, discard_upload, stored_upload
from core.service.admission.admission import Admitted, admit, queued_record, random_seed
from core.service.admission.enhance import check_configured, enhanced
from core.service.admission.estimate import estimate_of
from core.service.admission.media_references import ReferenceCheck
from core.service.domain.errors import JobStateConflict, LongtakeError, ServiceFull, StorageError, StoreError
from core.service.domain.frame_plan import chunk_span, num_chunks
from core.service.domain.ids import new_job_id
from core.service.domain.ports import JobStore, LiveStatus
from core.service.domain.schema import JobPlan, JobRecord, JobRequest
from core.service.domain.uploads import Upload
from core.service.net.address_guard import Resolve
from core.service.records.manifest_writer import create_job, write_manifest
from core.service.records.wake import wake_workers
from core.service.settings import Settings


@dataclass(frozen=True)
class Wanted:
    """One job that a client wants. `fingerprint` is of the request as it was sent."""

    request: JobRequest
    fingerprint: str
    resolve: Resolve
    key: str | None = None
    """Idempotency-Key."""
    job_id: str | None = None
    """The client's choice."""
    image: SentFile | None = None
    """Becomes an upload of the caller and the request's `image`, unless an earlier request has made the job."""


@dataclass(frozen=True)
class Created:
    """The job of a request, its progress and place. `is_new`: this request made it, not an earlier one."""

    record: JobRecord
    live: LiveStatus
    is_new: bool


@dataclass(frozen=True)
class _Begun:
    """Admitted, and the right to create the job."""

    wanted: Wanted
    claim: Claim
    admitted: Admitted
    upload: Upload | None
    """Of the image that came with the request."""


def check_room(store: JobStore, settings: Settings) -> None:
    """Raises ServiceFull if no further job may wait."""
    most = settings.max_queued_jobs
    if store.count_active() >= most:
        raise ServiceFull(f"{most} jobs are waiting already", fix="try again later")


class Creator:
    """Creates jobs of `caller`."""

    def __init__(self, ports: Ports, settings: Settings, caller: Caller) -> None:
        self._ports = ports
        self._settings = settings
        self._caller = caller
        self._limits = OwnerLimits.of(caller, caller.owner, ports)
        self._claims = Claims(ports.store, ports.idempotency, caller.owner)

    async def create(self, wanted: Wanted) -> Created:
        """Raises a LongtakeError; then there is no job, unless it was an outage of store or storage."""
        (outcome,) = await self.create_all([wanted])
        if isinstance(outcome, LongtakeError):
            raise outcome
        return outcome

    async def create_all(self, wanted: Sequence[Wanted]) -> list[Created | LongtakeError]:
        """Each by itself, in order."""
        if not any(each.request.enhance_prompt for each in wanted):
            return await run_in_threadpool(lambda: [self._end(self._begin(each)) for each in wanted])
        begun = await run_in_threadpool(lambda: [self._begin(each) for each in wanted])
        longer = await asyncio.gather(*(self._enhanced(each) for each in begun))
        return await run_in_threadpool(lambda: [self._end(each) for each in longer])

    def plan(self, wanted: Wanted) -> JobPlan:
        """The job that would be created. Raises RequestError, LimitReached, and what admission raises."""
        admitted = self._admitted(wanted)
        self._limits.check_new(self._queued(new_job_id(), admitted, wanted))
        spec, length = admitted.spec, admitted.spec.num_frames
        along_input = self._ports.catalog.get(spec.model).preset.capabilities.goes_along(spec)
        last = None if length is None else chunk_span(num_chunks(length) - 1, length)
        return JobPlan(
            request=spec,
            warnings=admitted.warnings,
            num_chunks=None if last is None else last.index + 1,
            last_chunk_frames=None if last is None else last.num_frames,
            estimate=estimate_of(spec, self._ports.speeds.of(spec.model), along_input=along_input),
        )

    def _begin(self, wanted: Wanted) -> _Begun | Created | LongtakeError:
        try:
            claim = self._claimed(wanted)
            if isinstance(claim, JobRecord):
                return self._found(claim)
        except LongtakeError as error:
            return error
        upload: Upload | None = None
        try:
            upload = self._stored_image(wanted)
            if upload is not None:
                wanted = replace(wanted, request=wanted.request.model_copy(update={"image": upload.id}))
            return _Begun(wanted, claim, self._admitted(wanted), upload)
        except LongtakeError as error:
            claim.forget()
            return self._failed(upload, error)

    def _claimed(self, wanted: Wanted) -> Claim | JobRecord:
        if wanted.job_id is not None:
            return self._claims.of_id(wanted.job_id, wanted.fingerprint)
        if wanted.key is not None:
            return self._claims.of_key(wanted.key, wanted.fingerprint)
        return self._claims.of_nobody()

    def _stored_image(self, wanted: Wanted) -> Upload | None:
        return wanted.image and stored_upload(wanted.image, self._caller, self._ports, self._settings)

    def _admitted(self, wanted: Wanted) -> Admitted:
        ports, most, resolve = self._ports, self._limits.most_frames(), wanted.resolve
        settings = self._limits.settings(self._settings, most)
        check_configured(wanted.request, ports.enhancer)
        check = ReferenceCheck(ports.uploads, ports.storage, ports.clock, settings, resolve, self._caller.owns)
        request = self._with_priority(wanted.request)
        admitted = admit(request, ports.catalog, settings, random_seed, check, resolve, most)
        self._limits.check_spec(admitted.spec)
        return admitted

    def _with_priority(self, request: JobRequest) -> JobRequest:
        if "priority" in request.model_fields_set:
            return request
        return request.model_copy(update={"priority": self._limits.priority(request.priority)})

    async def _enhanced(self, begun: _Begun | Created | LongtakeError) -> _Begun | Created | LongtakeError:
        enhancer = self._ports.enhancer
        if not isinstance(begun, _Begun) or not begun.wanted.request.enhance_prompt or enhancer is None:
            return begun
        folder = self._ports.catalog.get(begun.admitted.spec.model)
        return replace(begun, admitted=await enhanced(begun.admitted, folder, enhancer))

    def _end(self, begun: _Begun | Created | LongtakeError) -> Created | LongtakeError:
        if not isinstance(begun, _Begun):
            return begun
        queued = self._queued(begun.claim.job_id, begun.admitted, begun.wanted)
        try:
            check_room(self._ports.store, self._settings)
            self._limits.check_new(queued)
        except LongtakeError as error:
            begun.claim.forget()
            return self._failed(begun.upload, error)
        try:
            created = self._stored(begun.wanted, queued)
        except LongtakeError as error:
            begun.claim.release()
            return self._failed(begun.upload, error)
        if begun.upload is not None and created.record.spec.image != begun.upload.id:
            self._discard(begun.upload)
        return created

    def _failed(self, upload: Upload | None, error: LongtakeError) -> LongtakeError:
        """`error`. After an outage the job may exist: then its image stays until it expires."""
        if upload is not None and not isinstance(error, StoreError | StorageError):
            self._discard(upload)
        return error

    def _discard(self, upload: Upload) -> None:
        with suppress(LongtakeError):  # then it expires
            discard_upload(upload.id, self._ports)

    def _queued(self, job_id: str, admitted: Admitted, wanted: Wanted) -> JobRecord:
        now, caller = self._ports.clock.now(), self._caller
        return queued_record(job_id, admitted, now, wanted.fingerprint, caller.owner, caller.share)

    def _stored(self, wanted: Wanted, queued: JobRecord) -> Created:
        ports = self._ports
        try:
            record = create_job(ports.store, ports.storage, queued, self._limits.limits)
        except JobStateConflict:  # a request that was taken for dead has created it meanwhile
            found = ports.store.get(queued.id)
            write_manifest(ports.store, ports.storage, found)
            return self._found(self._claims.same(found, wanted.fingerprint))
        wake_workers(ports.queue, record)
        return Created(record, self._live(record), is_new=True)

    def _found(self, record: JobRecord) -> Created:
        return Created(record, self._live(record), is_new=False)

    def _live(self, record: JobRecord) -> LiveStatus:
        (live,) = self._ports.store.live_statuses([record])
        return live
