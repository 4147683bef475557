"""The manifest keeps everything, and object keys are as documented."""

from __future__ import annotations

import json

import pytest

from core.service.domain import manifest, transitions
from core.service.domain.errors import StorageError
from core.service.domain.schema import (
    FingerprintChange,
    JobError,
    JobRecord,
    JobStatus,
    JobWarning,
    Lane,
    LaneState,
    PreparedMedia,
    StateChecksum,
)
from tests.helpers.jobs import DAY_ONE, chunk_of, queued_job


def full_record() -> JobRecord:
    """A record with no field left at its default."""
    job = queued_job(webhook_url="https://example.com/hook", metadata={"who": "me"})
    running = transitions.claim(job, Lane.GENERATE, DAY_ONE, 0).record
    return running.model_copy(
        update={
            "status": JobStatus.FAILED,
            "request_sha256": "cc" * 32,
            "version": 1,
            "chunks": (chunk_of(job, 0),),
            "lanes": {
                Lane.GENERATE: LaneState(token=3, attempts=2, held=True, deaths=3, lonely_deaths=1, commits_at_claim=9),
                Lane.FINALIZE: LaneState(),
            },
            "refined": (chunk_of(job, 0),),
            "chunk_versions": (1,),
            "refined_versions": (2,),
            "refine_done": 1,
            "refine_states": (StateChecksum(piece=0, sha256="a"),),
            "repairs": (1,),
            "prepared": PreparedMedia(key="p", sha256="a", at=DAY_ONE),
            "prepare_again": True,
            "media_repairs": 1,
            "webhooks_ended": 2,
            "num_events": 5,
            "fingerprints": (FingerprintChange(from_chunk=0, fingerprint="f1"),),
            "refine_fingerprints": (FingerprintChange(from_chunk=0, fingerprint="r1"),),
            "cancel_requested": True,
            "delete_requested": True,
            "video_key": "v",
            "refined_video_key": "r",
            "thumbnail_key": "t",
            "error": JobError(code="boom", message="it broke", retryable=True),
            "warnings": (JobWarning(code="odd", message="it is odd", field="prompt"),),
            "first_chunk_at": DAY_ONE,
            "finished_at": DAY_ONE,
            "expires_at": DAY_ONE,
        }
    )


def test_a_record_comes_back_from_its_manifest_as_it_was() -> None:
    record = full_record()
    defaults = {name: field.default for name, field in JobRecord.model_fields.items()}
    assert [name for name, default in defaults.items() if getattr(record, name) == default] == []
    assert manifest.record_from_manifest(manifest.manifest_bytes(record)) == record


def test_a_manifest_holds_its_version_and_the_engines() -> None:
    told = json.loads(manifest.manifest_bytes(full_record()))
    assert told["version"] == manifest.MANIFEST_VERSION
    assert told["job"]["fingerprints"] == [{"from_chunk": 0, "fingerprint": "f1"}]


def test_equal_records_give_equal_bytes() -> None:
    assert manifest.manifest_bytes(full_record()) == manifest.manifest_bytes(full_record())


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"version": 2, "job": {}}'])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(StorageError):
        manifest.record_from_manifest(data)


def test_a_newer_version_is_refused() -> None:
    told = json.loads(manifest.manifest_bytes(queued_job()))
    newer = json.dumps(told | {"version": manifest.MANIFEST_VERSION + 1}).encode()
    with pytest.raises(StorageError):
        manifest.record_from_manifest(newer)


def test_keys_lie_under_the_job() -> None:
    assert manifest.chunk_key("job_a", 3) == "jobs/job_a/chunks/00003.mp4"
    assert manifest.state_key("job_a", 12) == "jobs/job_a/state/generate/00012.safetensors"
    assert manifest.video_key("job_a") == "jobs/job_a/video.mp4"
    assert manifest.thumbnail_key("job_a") == "jobs/job_a/thumbnail.jpg"
    assert manifest.manifest_key("job_a") == "jobs/job_a/manifest.json"
    assert manifest.job_prefix("job_a") == "jobs/job_a/"


@pytest.mark.parametrize(
    ("key", "job_id"),
    [
        ("jobs/job_a/manifest.json", "job_a"),
        ("jobs/job_a/video.mp4", None),
        ("jobs/job_a/chunks/manifest.json", None),
        ("uploads/job_a/manifest.json", None),
    ],
)
def test_a_manifest_is_known_by_its_key(key: str, job_id: str | None) -> None:
    assert manifest.job_id_of_manifest(key) == job_id
