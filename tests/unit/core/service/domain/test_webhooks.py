"""Webhook bodies and signatures, against digests made with openssl (see the vectors' comments)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from core.service.domain.errors import SetupError
from core.service.domain.schema import ChunkRecord, EventType, JobError, JobRecord, JobStatus
from core.service.domain.schema.older import totals_of
from core.service.domain.webhook_secret import generate_secret
from core.service.domain.webhooks import (
    MAX_BODY_BYTES,
    RETRY_SCHEDULE_SECONDS,
    TOLERANCE_SECONDS,
    headers,
    payload,
    retry_delay_seconds,
    sign,
    verify,
)
from tests.helpers.jobs import job_spec

# openssl dgst -sha256 -mac HMAC -macopt hexkey:<base64 -d of the secret> over "<id>.<timestamp>.<body>", base64.
SPEC_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SPEC_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER_SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
OTHER_SIGNATURE = "v1,IWAr1FaP2D+T0VVMNA/izfPjRlo4i/YQdmwJQlJEjmo="

NOW = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)
STAMP = int(NOW.timestamp())


def make_record(*, chunks: int = 0, error: JobError | None = None, text: str = "a red circle") -> JobRecord:
    spec = job_spec(
        prompt=text, negative_prompt=text, num_frames=40, fps=8, seed=1, model="sprites", guidance_scale=7.5,
        num_inference_steps=4, metadata={f"k{i}": text[:512] for i in range(16)},
    )  # fmt: skip
    made = tuple(
        ChunkRecord(
            index=i, first_frame=16 * i, num_frames=16, key="k", head_bytes=1, size_bytes=2, sha256="0", created_at=NOW
        )
        for i in range(chunks)
    )
    return JobRecord(
        id="job_x",
        status=JobStatus.RUNNING,
        version=chunks,
        spec=spec,
        chunks=totals_of(made),
        error=error,
        created_at=NOW,
    )


def test_signature_equals_openssl() -> None:
    assert sign(SPEC_SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}') == SPEC_SIGNATURE
    assert sign(OTHER_SECRET, "evt_1", 1700000000, '{"a":"ü"}') == OTHER_SIGNATURE


def test_rotation_signs_with_every_secret_and_verifies_with_any() -> None:
    both = headers(f"{SPEC_SECRET} {OTHER_SECRET}", "evt_1", STAMP, "{}")
    assert len(both["webhook-signature"].split()) == 2
    assert verify(OTHER_SECRET, both, "{}", TOLERANCE_SECONDS, NOW)
    old_only = headers(SPEC_SECRET, "evt_1", STAMP, "{}")
    assert verify(f"{OTHER_SECRET} {SPEC_SECRET}", old_only, "{}", TOLERANCE_SECONDS, NOW)


def test_header_names_match_in_any_case() -> None:
    sent = {name.title(): value for name, value in headers(SPEC_SECRET, "evt_1", STAMP, "{}").items()}
    assert verify(SPEC_SECRET, sent, "{}", TOLERANCE_SECONDS, NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "evt_2"},
        {"webhook-timestamp": str(STAMP + 1)},
        {"webhook-timestamp": "soon"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "v2,ü"},
        {"webhook-signature": ""},
    ],
)
def test_a_changed_header_is_refused(change: dict[str, str]) -> None:
    sent = headers(SPEC_SECRET, "evt_1", STAMP, "{}") | change
    assert not verify(SPEC_SECRET, sent, "{}", TOLERANCE_SECONDS, NOW)


def test_a_changed_body_another_secret_and_missing_headers_are_refused() -> None:
    sent = headers(SPEC_SECRET, "evt_1", STAMP, "{}")
    assert not verify(SPEC_SECRET, sent, "{} ", TOLERANCE_SECONDS, NOW)
    assert not verify(OTHER_SECRET, sent, "{}", TOLERANCE_SECONDS, NOW)
    assert not verify(SPEC_SECRET, {}, "{}", TOLERANCE_SECONDS, NOW)


@pytest.mark.parametrize(("age_seconds", "accepted"), [(299, True), (301, False), (-299, True), (-301, False)])
def test_only_fresh_tries_verify(age_seconds: int, accepted: bool) -> None:
    sent = headers(SPEC_SECRET, "evt_1", STAMP, "{}")
    assert verify(SPEC_SECRET, sent, "{}", TOLERANCE_SECONDS, NOW + timedelta(seconds=age_seconds)) is accepted


def test_generated_secrets_work_and_differ() -> None:
    secret = generate_secret()
    assert verify(secret, headers(secret, "evt_1", STAMP, "{}"), "{}", TOLERANCE_SECONDS, NOW)
    assert secret != generate_secret()


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!!", SPEC_SECRET.removeprefix("whsec_")])
def test_malformed_secret_is_a_setup_error(secret: str) -> None:
    with pytest.raises(SetupError, match="LONGTAKE_WEBHOOK_SECRET"):
        sign(secret, "evt_1", STAMP, "{}")


def test_payload_names_the_event_its_time_and_the_job() -> None:
    body = json.loads(payload(EventType.JOB_SUCCEEDED, make_record(chunks=2), NOW))
    assert body["type"] == "job.succeeded"
    assert body["timestamp"] == "2026-11-21T12:00:00.250Z"
    assert body["data"] == {
        "id": "job_x", "status": "running", "version": 2, "frames_done": 32, "frames_total": 40, "chunks_done": 2,
    }  # fmt: skip


def test_chunk_payload_has_the_frame_range() -> None:
    body = json.loads(payload(EventType.CHUNK_COMPLETED, make_record(chunks=2), NOW))
    assert body["data"]["chunk"] == {"index": 1, "first_frame": 16, "num_frames": 16}


def test_payload_stays_small_whatever_the_request_was() -> None:
    error = JobError(code="engine_error", message="🎬" * 50_000, retryable=False)
    body = payload(EventType.JOB_FAILED, make_record(chunks=1, error=error, text="🎬" * 4000), NOW)
    assert len(body.encode()) < MAX_BODY_BYTES
    assert json.loads(body)["data"]["error"]["code"] == "engine_error"


def test_retries_follow_the_schedule_then_stop() -> None:
    delays = [retry_delay_seconds(attempts) for attempts in range(9)]
    assert delays == [0, 5, 30, 120, 600, 3600, 21600, 86400, None]
    assert delays[:-1] == list(RETRY_SCHEDULE_SECONDS)


def test_jitter_only_lengthens_a_pause() -> None:
    assert retry_delay_seconds(2, jitter=1.0) == pytest.approx(36.0)
    assert retry_delay_seconds(0, jitter=1.0) == 0
