"""The manifest keeps everything, and object keys are as documented."""

from __future__ import annotations

import json

import pytest

from core.service.domain import manifest, transitions
from core.service.domain.errors import ObjectDamaged, StorageError
from core.service.domain.priority import Priority
from core.service.domain.schema import (
    BranchSource,
    ChunkLists,
    DayFrames,
    EndedGeneration,
    FingerprintChange,
    JobError,
    JobRecord,
    JobStatus,
    JobWarning,
    Lane,
    LaneState,
    LengthChange,
    Measurement,
    PreparedMedia,
    StateChecksum,
    Steering,
)
from core.service.domain.schema.older import totals_of
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
            "chunks": totals_of([chunk_of(job, 0)]),
            "lanes": {
                Lane.GENERATE: LaneState(token=3, attempts=2, held=True, deaths=3, lonely_deaths=1, commits_at_claim=9),
                Lane.FINALIZE: LaneState(),
            },
            "refined": totals_of([chunk_of(job, 0)]),
            "refine_done": 1,
            "refine_states": (StateChecksum(piece=0, sha256="a"),),
            "repairs": (1,),
            "prepared": PreparedMedia(key="p", sha256="a", at=DAY_ONE),
            "prepare_again": True,
            "followed_sha256": "b",
            "media_repairs": 1,
            "branched_from": BranchSource(job_id="job_b", from_chunk=1),
            "owner": "key_a",
            "counted_frames": DayFrames(day=DAY_ONE.date(), frames=16),
            "video_bytes": 9000,
            "link_secret": "00",
            "webhook_secret": "whsec_AAAA",
            "earlier": (
                EndedGeneration(
                    status=JobStatus.CANCELED,
                    started_at=DAY_ONE,
                    ended_at=DAY_ONE,
                    next_at=DAY_ONE,
                    version=1,
                    replaced=chunk_of(job, 0),
                ),
            ),
            "resumed_at": DAY_ONE,
            "steering": (Steering(at=DAY_ONE, entry=3, from_frame=16, prompt="a blue square"),),
            "measurements": (Measurement(at=DAY_ONE, entry=4, generation=1),),
            "measure_asked_at": DAY_ONE,
            "length_changes": (LengthChange(entry=2, num_frames=None, endless_limit=900),),
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
            "request_id": "trace-7",
            "trace": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "share": 2.5,
            "first_chunk_at": DAY_ONE,
            "finished_at": DAY_ONE,
            "expires_at": DAY_ONE,
        }
    )


def test_a_record_comes_back_from_its_manifest_as_it_was() -> None:
    record = full_record()
    defaults = {name: field.default for name, field in JobRecord.model_fields.items()}
    assert [name for name, default in defaults.items() if getattr(record, name) == default] == []
    chunk = chunk_of(record, 0)
    lists = ChunkLists((chunk,), (chunk.model_copy(update={"version": 2, "fingerprint": "f"}),))
    read, rest = manifest.read_manifest(manifest.manifest_bytes(record, lists))
    assert (read.job, rest) == (record, lists)


def test_a_manifest_of_version_1_has_its_chunks_in_the_record() -> None:
    job, chunks = queued_job(), [chunk_of(queued_job(), index) for index in range(2)]
    fields = {"chunks": [chunk.model_dump(mode="json") for chunk in chunks], "chunk_versions": [1, 3]}
    changes = {"fingerprints": [{"from_chunk": 0, "fingerprint": "f1"}, {"from_chunk": 1, "fingerprint": "f2"}]}
    older = {"version": 1, "job": job.model_dump(mode="json") | {"refined": []} | fields | changes}
    read, lists = manifest.read_manifest(json.dumps(older).encode())
    assert [(chunk.version, chunk.fingerprint) for chunk in lists.preview] == [(1, "f1"), (3, "f2")]
    assert read.job.chunks == totals_of(lists.preview)
    assert not {"chunk_versions", "refined_versions"} & {*read.job.model_dump()}


@pytest.mark.parametrize("version", [1, manifest.MANIFEST_VERSION])
def test_a_job_from_before_priorities_has_a_normal_one_and_an_equal_share(version: int) -> None:
    job = queued_job().model_dump(mode="json")
    del job["share"], job["spec"]["priority"]
    chunks = {"chunks": [], "refined": []} if version == 1 else {}
    read, _ = manifest.read_manifest(json.dumps({"version": version, "job": job | chunks}).encode())
    assert (read.job.spec.priority, read.job.share) == (Priority.NORMAL, 1)
    assert read.job == queued_job()


def test_a_page_comes_back_as_it_was_and_is_refused_if_it_is_not_whole() -> None:
    job = queued_job(num_frames=16 * manifest.PAGE_CHUNKS)
    page = tuple(chunk_of(job, index) for index in range(manifest.PAGE_CHUNKS))
    assert manifest.read_page(manifest.page_bytes(page)) == page
    for data in (manifest.page_bytes(page[1:]), b"{}", b""):
        with pytest.raises(ObjectDamaged):
            manifest.read_page(data)


def test_a_manifest_holds_its_version_and_the_engines() -> None:
    told = json.loads(manifest.manifest_bytes(full_record(), ChunkLists()))
    assert told["version"] == manifest.MANIFEST_VERSION
    assert told["job"]["fingerprints"] == [{"from_chunk": 0, "fingerprint": "f1"}]


def test_equal_records_give_equal_bytes() -> None:
    assert manifest.manifest_bytes(full_record(), ChunkLists()) == manifest.manifest_bytes(full_record(), ChunkLists())


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"version": 1, "job": {}}', b'{"version": 2, "job": {}}'])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(StorageError):
        manifest.read_manifest(data)


def test_a_newer_version_is_refused() -> None:
    told = json.loads(manifest.manifest_bytes(queued_job(), ChunkLists()))
    newer = json.dumps(told | {"version": manifest.MANIFEST_VERSION + 1}).encode()
    with pytest.raises(StorageError):
        manifest.read_manifest(newer)


def test_keys_lie_under_the_job() -> None:
    assert manifest.chunk_key("job_a", 3) == "jobs/job_a/chunks/00003.mp4"
    assert manifest.state_key("job_a", 12) == "jobs/job_a/state/generate/00012.safetensors"
    assert manifest.video_key("job_a") == "jobs/job_a/video.mp4"


@pytest.mark.parametrize("generation", [0, 1, 12])
def test_what_a_later_generation_makes_has_names_of_its_own(generation: int) -> None:
    keys = [
        *(of("job-5", 3, generation) for of in (manifest.chunk_key, manifest.refined_key, manifest.state_key)),
        *(of("job-5", 3, generation) for of in (manifest.frames_key, manifest.refine_state_key)),
        *(of("job-5", generation) for of in (manifest.video_key, manifest.refined_video_key)),
    ]
    assert {manifest.generation_of(key) for key in keys} == {generation}
    assert manifest.chunk_key("job_a", 2, 1) == "jobs/job_a/chunks/00002-1.mp4"
    assert manifest.video_key("job_a", 1) == "jobs/job_a/video-1.mp4"
    assert manifest.thumbnail_key("job_a") == "jobs/job_a/thumbnail.jpg"
    assert manifest.manifest_key("job_a") == "jobs/job_a/manifest.json"
    page = manifest.ChunkPage("refined", 3)
    assert manifest.page_key("job_a", page) == "jobs/job_a/pages/refined/00003.json"
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
