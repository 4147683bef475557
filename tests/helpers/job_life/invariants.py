"""What must hold after every step: methods that begin with `check_`, one for each rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from core.service.domain.errors import JobNotFound
from core.service.domain.manifest import manifest_key
from core.service.domain.schema import VARIANTS, EventType, JobEvent, JobRecord, Lane
from core.service.domain.schema.older import totals_of
from tests.helpers.job_life.lives import Life
from tests.helpers.job_life.service import Service

END_EVENTS = (EventType.JOB_SUCCEEDED, EventType.JOB_FAILED, EventType.JOB_CANCELED)


@dataclass
class Invariants:
    """The invariants of a service and of the jobs in it, by their ids."""

    service: Service
    lives: dict[str, Life]

    def hold(self) -> None:
        for life in self.lives.values():
            record, log = self.service.record(life.job_id), self.service.events(life.job_id)
            self.check_what_was_deleted_stays_away(life)
            self.check_what_was_accepted_has_a_manifest(life)
            if record is not None and not record.delete_requested:
                self.look_at_what_an_older_manifest_gave_back(life, record)
                self.check_what_has_ended_stays_as_it_ended(life, record)
                self.check_chunks_follow_one_another(record)
                self.check_one_commit_a_chunk(record, log)
                self.check_events_are_told_once_and_in_order(life, record, log)
                self.check_the_manifest_is_the_record(record)
                self.check_only_the_engine_uses_up_tries(record)
                self.check_tokens_only_rise(life, record)
                self.check_a_cancel_is_kept(life, record)
                self.check_measuring_is_kept(life, record)
                life.seen = record
        self.check_no_stale_token_changed_anything()

    def look_at_what_an_older_manifest_gave_back(self, life: Life, record: JobRecord) -> None:
        """A process that stood still has put an older manifest after Redis was lost and before the job was rebuilt."""
        is_older = life.seen is not None and record.revision < life.seen.revision
        if is_older and life.job_id in self.service.storage.overtaken:
            life.seen, life.cancel_told, life.measure_told = None, None, False
            life.log = life.log[: record.num_events]

    def check_what_was_deleted_stays_away(self, life: Life) -> None:
        """Nobody sees a job again whose deletion was told as done, not after a wiped Redis either."""
        if life.delete_told and not self.service.storage.broken:
            assert life.job_id not in [record.id for record in self.service.store.list().jobs]
            with pytest.raises(JobNotFound):
                self.service.store.get(life.job_id)

    def check_what_was_accepted_has_a_manifest(self, life: Life) -> None:
        """202 means that the job survives the loss of Redis, until it is deleted or expired."""
        if life.accepted and not life.delete_tried and not life.may_be_expired(self.service.clock.now()):
            assert manifest_key(life.job_id) in self.service.storage.objects, life.job_id

    def check_what_has_ended_stays_as_it_ended(self, life: Life, record: JobRecord) -> None:
        """A terminal status is final, and so is all that was made, until a client lets the job go on. Measurements are
        added."""
        if life.seen is not None and life.seen.status.is_terminal and life.seen.generation == record.generation:
            assert record.measurements[: len(life.seen.measurements)] == life.seen.measurements
            measured = {"measurements", "measure_asked_at", "num_events", "webhooks_ended", "revision"}
            spec = life.seen.spec.model_copy(update={"measure": record.spec.measure})
            update = {name: getattr(record, name) for name in measured} | {"spec": spec}
            assert durable_fields(record) == durable_fields(life.seen.model_copy(update=update))

    def check_chunks_follow_one_another(self, record: JobRecord) -> None:
        """Chunk indices are contiguous from 0, frames as well; refined ones too, and never ahead of the preview."""
        for variant in VARIANTS:
            chunks = self.service.chunks(record.id, variant)
            totals = record.totals(variant)
            counted = totals_of(chunks).model_dump(include={"count", "num_frames", "last"})
            assert totals.model_dump(include={*counted}) == counted
            assert [chunk.index for chunk in chunks] == [*range(len(chunks))]
            ends = [chunk.first_frame + chunk.num_frames for chunk in chunks]
            assert [chunk.first_frame for chunk in chunks] == [0, *ends][: len(chunks)]
        assert record.refined.count <= record.chunks.count

    def check_one_commit_a_chunk(self, record: JobRecord, log: Sequence[JobEvent]) -> None:
        """The version counts commits, each chunk has one, and each is told once."""
        told = {kind: [_chunk(event) for event in log if event.type is kind] for kind in EventType}
        assert told[EventType.CHUNK_COMPLETED] == [*range(record.chunks.count)]
        assert told[EventType.CHUNK_REFINED] == [*range(record.refined.count)]
        assert record.version >= record.chunks.count + record.refined.count
        assert record.spec.refine is not None or record.version == record.chunks.count

    def check_events_are_told_once_and_in_order(self, life: Life, record: JobRecord, log: Sequence[JobEvent]) -> None:
        """Entry n of the log is n-0 and stays what it is, none is missing, and after the end comes what is measured."""
        assert [event.id for event in log] == [f"{number}-0" for number in range(1, (record.num_events or 0) + 1)]
        all_types = [event.type for event in log]
        measured = [number for number, kind in enumerate(all_types) if kind is EventType.JOB_MEASURED]
        assert len(measured) == len(record.measurements)
        assert all(all_types[number - 1] in (*END_EVENTS, EventType.JOB_MEASURED) for number in measured), all_types
        types = [kind for kind in all_types if kind is not EventType.JOB_MEASURED]
        assert types[0] is EventType.JOB_QUEUED
        ends = [number for number, kind in enumerate(types, start=1) if kind in END_EVENTS]
        goes_on = [number for number, kind in enumerate(types) if number and kind is EventType.JOB_QUEUED]
        assert ends == [*goes_on, *([len(types)] if record.status.is_terminal else [])], types
        assert len(goes_on) == record.generation
        told = tuple((event.id, str(event.type), int(event.data["version"]), _chunk(event)) for event in log)
        common = min(len(told), len(life.log))
        assert told[:common] == life.log[:common], "a client that goes on after an entry misses another"
        life.log = told

    def check_the_manifest_is_the_record(self, record: JobRecord) -> None:
        """But for leases and what need not last, unless the store knows that the manifest is behind."""
        manifest = self.service.manifest(record.id)
        behind = self.service.stale() | self.service.storage.overtaken
        if record.id not in behind and manifest is not None:
            assert durable_fields(manifest) == durable_fields(record)

    def check_only_the_engine_uses_up_tries(self, record: JobRecord) -> None:
        """No server that fails, no worker that dies and no wiped Redis counts as a try."""
        failures = self.service.engine_failures.count(record.id)
        lanes = [lane for lane in Lane if lane is not Lane.MEASURE]
        assert sum(record.lane(lane).attempts for lane in lanes) <= failures, record.lanes
        assert record.lane(Lane.MEASURE).attempts <= self.service.measuring_failures, record.lanes

    def check_tokens_only_rise(self, life: Life, record: JobRecord) -> None:
        """A fencing token is never given twice."""
        if life.seen is not None:
            assert all(record.lane(lane).token >= life.seen.lane(lane).token for lane in Lane)

    def check_no_stale_token_changed_anything(self) -> None:
        """Who has lost its lease to another changes no record any more."""
        assert self.service.fence_broken == []

    def check_a_cancel_is_kept(self, life: Life, record: JobRecord) -> None:
        """A cancel that was told as done is not forgotten."""
        assert record.cancel_requested or life.cancel_told is None or life.cancel_told < record.generation

    def check_measuring_is_kept(self, life: Life, record: JobRecord) -> None:
        """Metrics that were asked for are not forgotten."""
        assert record.spec.measure or not (life.accepted and life.measure_told)


def durable_fields(record: JobRecord) -> JobRecord:
    """What a record and its manifest must have in common."""
    ended = record.webhooks_ended if record.status.is_terminal else 0
    return record.model_copy(update={"lanes": {}, "webhooks_ended": ended})


def _chunk(event: JobEvent) -> int | None:
    chunk = event.data.get("chunk")
    return None if chunk is None else int(chunk["index"])
