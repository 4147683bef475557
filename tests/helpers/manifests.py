"""Reads manifests, for tests."""

from __future__ import annotations

from core.service.domain.manifest import read_manifest
from core.service.domain.schema import JobRecord


def record_from_manifest(data: bytes) -> JobRecord:
    """The record in a manifest."""
    return read_manifest(data)[0].job
