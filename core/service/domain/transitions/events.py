"""Log entries and webhook deliveries of a change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.service.domain.ports import Delivery
from core.service.domain.schema import EventType, JobRecord
from core.service.domain.webhooks import chunk_of_event, measurement_data, payload

KEPT_EVENTS = 2000
"""Newest entries of a job's log that are kept, or a few more: the log of a job without an end stays small."""


@dataclass(frozen=True)
class NewEvent:
    """An entry for the job's event log, before the log has given it an id."""

    type: EventType
    at: datetime
    data: dict[str, Any]


def new_event(record: JobRecord, event_type: EventType, at: datetime) -> NewEvent:
    return NewEvent(event_type, at, _event_data(record, event_type))


def _event_data(record: JobRecord, event_type: EventType) -> dict[str, Any]:
    """Data of a log entry: small, and fixed at the time of the event."""
    data: dict[str, Any] = {
        "status": record.status.value,
        "version": record.version,
        "frames_done": record.frames_done,
        "frames_total": record.spec.num_frames,
    }
    if chunk := chunk_of_event(record, event_type):
        data["chunk"] = chunk.model_dump(
            mode="json", include={"index", "first_frame", "num_frames", "size_bytes", "sha256"}
        )
    if event_type is EventType.JOB_QUEUED and record.generation:
        data["generation"] = record.generation
    if event_type is EventType.JOB_PROMPT_CHANGED:
        data |= {"from_frame": record.steering[-1].from_frame, "prompt": record.steering[-1].prompt}
    if event_type is EventType.JOB_MEASURED:
        data["measurement"] = measurement_data(record)
    if record.error is not None:
        data["error"] = record.error.model_dump(exclude_none=True)
    return data


def has_webhook(record: JobRecord, event_type: EventType) -> bool:
    """Whether the job has a webhook for this event."""
    return record.spec.webhook_url is not None and event_type.value in record.spec.webhook_events


def deliveries_for(record: JobRecord, event_type: EventType, at: datetime) -> tuple[Delivery, ...]:
    if record.spec.webhook_url is None or not has_webhook(record, event_type):
        return ()
    return (
        Delivery(
            id=_delivery_id(record, event_type),
            job_id=record.id,
            event_type=event_type,
            url=record.spec.webhook_url,
            body=payload(event_type, record, at),
            owner=record.owner,
            secret=record.webhook_secret,
            trace=record.trace,
            created_at=at,
            next_attempt_at=at,
        ),
    )


def _delivery_id(record: JobRecord, event_type: EventType) -> str:
    """Deterministic, so that a repeated event has the same id. Without '.', the separator of the signed text."""
    name = event_type.value.replace(".", "_")
    if event_type is EventType.JOB_PROMPT_CHANGED:
        name = f"edit_{_letters(len(record.steering))}"
    if event_type is EventType.JOB_MEASURED:
        name = f"measured_{_letters(len(record.measurements))}"
    if record.generation:
        name = f"run_{_letters(record.generation)}_{name}"
    return f"msg_{record.id.removeprefix('job_')}_{record.version}_{name}"


def _letters(number: int) -> str:
    """A number below 17,576 as three letters that sort as it does. Ids of one version are sent in alphabetical order:
    chunk_..., edit_aab, edit_aac, job_..., measured_aab, then those of later generations: run_aab_...; an id has no
    digits after the version."""
    return "".join(chr(ord("a") + number // 26**place % 26) for place in (2, 1, 0))
