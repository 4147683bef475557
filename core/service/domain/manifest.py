"""The durable truth about a job: jobs/{id}/manifest.json, from which its record can be rebuilt, and all object keys.

Pure text: reads and writes no storage. Holds no secret, but the webhook's URL.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import ValidationError

from core.service.domain.errors import ObjectDamaged
from core.service.domain.schema import JobRecord, Stored

MANIFEST_VERSION = 1
JOBS_PREFIX = "jobs/"
TOMBSTONES_PREFIX = "tombstones/"


class Manifest(Stored):
    """What stands in the file. `version` rises when an older reader would misread it."""

    version: Literal[1] = MANIFEST_VERSION
    job: JobRecord


def manifest_bytes(record: JobRecord) -> bytes:
    """The manifest of a job as it is now: UTF-8 JSON, indented for people."""
    return Manifest(job=record).model_dump_json(indent=1).encode()


def record_from_manifest(data: bytes) -> JobRecord:
    """Inverse of `manifest_bytes`. Raises ObjectDamaged for bytes that are no manifest of a version known here."""
    try:
        return Manifest.model_validate_json(data).job
    except ValidationError as error:
        message = f"not a manifest of version {MANIFEST_VERSION}: {error.error_count()} errors in it"
        raise ObjectDamaged(message) from error


def is_of_another_version(data: bytes) -> bool:
    """Whether bytes that `record_from_manifest` refuses are a manifest all the same, of a version that can read it."""
    try:
        told = json.loads(data)
    except ValueError:
        return False
    return isinstance(told, dict) and {"version", "job"} <= told.keys()


def tombstone_key(job_id: str) -> str:
    """Says that the job is deleted, for a while after its objects are gone: a lost record is not rebuilt then."""
    return f"{TOMBSTONES_PREFIX}{job_id}"


def job_id_of_tombstone(key: str) -> str:
    """The job of a key that `tombstone_key` made."""
    return key.removeprefix(TOMBSTONES_PREFIX)


def job_prefix(job_id: str) -> str:
    """Where all objects of a job lie."""
    return f"{JOBS_PREFIX}{job_id}/"


def manifest_key(job_id: str) -> str:
    return f"{job_prefix(job_id)}manifest.json"


def job_id_of_manifest(key: str) -> str | None:
    """The job of a key that `manifest_key` made; None for any other object."""
    job_id = key.removeprefix(JOBS_PREFIX).removesuffix("/manifest.json")
    return job_id if key == manifest_key(job_id) and "/" not in job_id else None


def chunks_prefix(job_id: str) -> str:
    return f"{job_prefix(job_id)}chunks/"


def chunk_key(job_id: str, index: int) -> str:
    return f"{chunks_prefix(job_id)}{index:05d}.mp4"


def refined_prefix(job_id: str) -> str:
    return f"{job_prefix(job_id)}refined/"


def refined_key(job_id: str, index: int) -> str:
    """The same frames as chunk `index`, refined."""
    return f"{refined_prefix(job_id)}{index:05d}.mp4"


def inputs_prefix(job_id: str) -> str:
    """Where the exact pixels lie that the job begins with."""
    return f"{job_prefix(job_id)}input/"


def input_key(job_id: str, token: int) -> str:
    """What the holder of this fencing token has prepared: whoever comes too late overwrites nothing."""
    return f"{inputs_prefix(job_id)}{token:05d}.safetensors"


def input_index_key(job_id: str, token: int) -> str:
    """The index of a whole input video that the holder of this fencing token has prepared."""
    return f"{inputs_prefix(job_id)}{token:05d}.json"


def input_piece_key(index_key: str, number: int) -> str:
    """A piece of the whole input video with this index."""
    return f"{index_key.removesuffix('.json')}/{number:05d}.safetensors"


def state_key(job_id: str, index: int) -> str:
    """The engine's state after chunk `index`."""
    return f"{job_prefix(job_id)}state/generate/{index:05d}.safetensors"


def refine_states_prefix(job_id: str) -> str:
    return f"{job_prefix(job_id)}state/refine/"


def refine_state_key(job_id: str, index: int) -> str:
    """The refiner's state after piece `index`."""
    return f"{refine_states_prefix(job_id)}{index:05d}.safetensors"


def states_prefix(job_id: str) -> str:
    return f"{job_prefix(job_id)}state/"


def frames_prefix(job_id: str) -> str:
    """Where the exact frames lie that are still to be refined."""
    return f"{job_prefix(job_id)}frames/"


def frames_key(job_id: str, index: int) -> str:
    """The exact frames of chunk `index`: the refiner never reads a lossy file."""
    return f"{frames_prefix(job_id)}{index:05d}.safetensors"


def video_key(job_id: str) -> str:
    return f"{job_prefix(job_id)}video.mp4"


def refined_video_key(job_id: str) -> str:
    return f"{job_prefix(job_id)}video_refined.mp4"


def thumbnail_key(job_id: str) -> str:
    return f"{job_prefix(job_id)}thumbnail.jpg"
