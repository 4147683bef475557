"""The manifest, jobs/{id}/manifest.json, from which a job's record can be rebuilt; and the keys of all its objects.

Reads and writes no storage. The webhook URL is the only thing in a manifest that may be secret.
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
    """Content of the file. `version` changes only if older readers would misread it."""

    version: Literal[1] = MANIFEST_VERSION
    job: JobRecord


def manifest_bytes(record: JobRecord) -> bytes:
    """The manifest of a job: UTF-8 JSON, indented."""
    return Manifest(job=record).model_dump_json(indent=1).encode()


def record_from_manifest(data: bytes) -> JobRecord:
    """Inverse of `manifest_bytes`. Raises ObjectDamaged if the bytes are not a manifest of this version."""
    try:
        return Manifest.model_validate_json(data).job
    except ValidationError as error:
        message = f"not a manifest of version {MANIFEST_VERSION}: {error.error_count()} errors in it"
        raise ObjectDamaged(message) from error


def is_of_another_version(data: bytes) -> bool:
    """Whether bytes that `record_from_manifest` refuses look like a manifest of another version."""
    try:
        content = json.loads(data)
    except ValueError:
        return False
    return isinstance(content, dict) and {"version", "job"} <= content.keys()


def tombstone_key(job_id: str) -> str:
    """Key of the object that marks the job as deleted, so that its record is not rebuilt."""
    return f"{TOMBSTONES_PREFIX}{job_id}"


def job_id_of_tombstone(key: str) -> str:
    """Inverse of `tombstone_key`."""
    return key.removeprefix(TOMBSTONES_PREFIX)


def job_prefix(job_id: str) -> str:
    """Prefix of all objects of a job."""
    return f"{JOBS_PREFIX}{job_id}/"


def manifest_key(job_id: str) -> str:
    return f"{job_prefix(job_id)}manifest.json"


def job_id_of_manifest(key: str) -> str | None:
    """Inverse of `manifest_key`; None for any other key."""
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
    """Prefix of the prepared input media."""
    return f"{job_prefix(job_id)}input/"


def input_key(job_id: str, token: int) -> str:
    """Input media prepared under this fencing token: a late worker overwrites nothing."""
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
    """The refiner's state after refinement piece `index`."""
    return f"{refine_states_prefix(job_id)}{index:05d}.safetensors"


def states_prefix(job_id: str) -> str:
    return f"{job_prefix(job_id)}state/"


def frames_prefix(job_id: str) -> str:
    """Prefix of the exact frames that are still to be refined."""
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
