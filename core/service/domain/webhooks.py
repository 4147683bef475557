"""Webhooks by Standard Webhooks 1.0.0: body, signature, retry schedule.

A `secret` argument may hold several secrets separated by spaces (rotation): all of them sign, any of them verifies.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from core.service.domain.schema import PING, ChunkRecord, EventType, JobRecord
from core.service.domain.webhook_secret import keys_of

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"

MAX_BODY_BYTES = 20_000
MAX_TEXT_CHARACTERS = 1_000
TOLERANCE_SECONDS = 300
KEPT_DELIVERIES = 1000
"""Newest ended deliveries of a job that are kept: a job without an end sends one for each chunk."""
KEPT_PENDING = 1000
"""Deliveries of a job that wait at most. Beyond it the oldest ones of chunks are given up, but never the first."""

CHUNK_EVENTS = frozenset({EventType.CHUNK_COMPLETED, EventType.CHUNK_REFINED})

_SIGNATURE_VERSION = "v1"
_MINUTE, _HOUR = 60, 3600
RETRY_SCHEDULE_SECONDS: tuple[int, ...] = (0, 5, 30, 2 * _MINUTE, 10 * _MINUTE, _HOUR, 6 * _HOUR, 24 * _HOUR)
"""Delay before attempt 0, 1, 2, ... of a delivery; after the last one it has failed."""
_MAX_JITTER = 0.2


def payload(event: EventType, record: JobRecord, at: datetime) -> str:
    """JSON body of a webhook: `event` happened at `at` and left the job as `record`.

    Small on purpose (well below MAX_BODY_BYTES for any request): the receiver gets the job by its id.
    """
    data: dict[str, Any] = {
        "id": record.id,
        "status": record.status.value,
        "version": record.version,
        "frames_done": record.frames_done,
        "frames_total": record.spec.num_frames,
        "chunks_done": record.chunks.count,
    }
    if chunk := chunk_of_event(record, event):
        data["chunk"] = chunk.model_dump(include={"index", "first_frame", "num_frames"})
    if event is EventType.JOB_PROMPT_CHANGED:
        change = record.steering[-1]
        data |= {"from_frame": change.from_frame, "prompt": change.prompt[:MAX_TEXT_CHARACTERS]}
    if event is EventType.JOB_MEASURED:
        data["measurement"] = measurement_data(record)
    if record.error is not None:
        message = record.error.message[:MAX_TEXT_CHARACTERS]
        data["error"] = record.error.model_dump(exclude_none=True) | {"message": message}
    return json.dumps({"type": event.value, "timestamp": _rfc3339(at), "data": data}, separators=(",", ":"))


def measurement_data(record: JobRecord) -> dict[str, Any]:
    """What an event tells of the newest measurement of a job."""
    error = record.measurements[-1].error
    if error is None:
        return {"status": "measured"}
    message = error.message[:MAX_TEXT_CHARACTERS]
    return {"status": "failed", "error": error.model_dump(exclude_none=True) | {"message": message}}


def ping_payload(ping_id: str, at: datetime) -> str:
    """JSON body of a ping."""
    return json.dumps({"type": PING, "timestamp": _rfc3339(at), "data": {"id": ping_id}}, separators=(",", ":"))


def chunk_of_event(record: JobRecord, event: EventType) -> ChunkRecord | None:
    """The chunk that an event is about, which left the job as `record`."""
    totals = {EventType.CHUNK_COMPLETED: record.chunks, EventType.CHUNK_REFINED: record.refined}.get(event)
    return totals.last if totals else None


def sign(secret: str, webhook_id: str, timestamp: int, body: str) -> str:
    """Value of the webhook-signature header: one `v1,<base64>` per secret. `timestamp`: Unix time of this attempt.

    Raises SetupError for a malformed secret.
    """
    assert "." not in webhook_id, webhook_id
    return " ".join(f"{_SIGNATURE_VERSION},{_digest(key, webhook_id, timestamp, body)}" for key in keys_of(secret))


def headers(secret: str, webhook_id: str, timestamp: int, body: str) -> dict[str, str]:
    """The three headers of one attempt; `webhook_id` is the same for all attempts of a delivery."""
    return {
        ID_HEADER: webhook_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: sign(secret, webhook_id, timestamp, body),
    }


def verify(secret: str, headers: Mapping[str, str], body: str, tolerance_seconds: float, now: datetime) -> bool:
    """Whether a signature in `headers` (case-insensitive names) is valid and its timestamp within the tolerance."""
    lower = {name.lower(): value for name, value in headers.items()}
    webhook_id, stamp, signatures = (lower.get(h, "") for h in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER))
    if not (webhook_id and stamp.isascii() and stamp.isdigit()):
        return False
    if abs(now.timestamp() - int(stamp)) > tolerance_seconds:
        return False
    expected = [f"{_SIGNATURE_VERSION},{_digest(key, webhook_id, int(stamp), body)}" for key in keys_of(secret)]
    # Bytes, because compare_digest refuses non-ASCII text, which a header may hold.
    received = [signature.encode() for signature in signatures.split()]
    return any([hmac.compare_digest(ours.encode(), theirs) for ours in expected for theirs in received])


def retry_delay_seconds(attempts: int, jitter: float = 0.0) -> float | None:
    """Delay after `attempts` failed attempts, up to 20 % longer as `jitter` goes from 0 to 1. None: give up."""
    if attempts >= len(RETRY_SCHEDULE_SECONDS):
        return None
    return RETRY_SCHEDULE_SECONDS[attempts] * (1.0 + _MAX_JITTER * jitter)


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _digest(key: bytes, webhook_id: str, timestamp: int, body: str) -> str:
    signed_text = f"{webhook_id}.{timestamp}.{body}".encode()
    return base64.b64encode(hmac.new(key, signed_text, hashlib.sha256).digest()).decode("ascii")
