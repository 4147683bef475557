"""What kinds of worker processes there are, and their states."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from core.service.domain.schema import Lane

WorkerKind = Literal["both", "generate", "refine", "cpu"]
"""Lanes that a worker process serves; "both" is generate and refine."""
WorkerState = Literal["starting", "ready", "busy", "not_ready", "draining"]
_KINDS: dict[Lane, Collection[WorkerKind]] = {
    Lane.PREPARE: ("cpu",),
    Lane.GENERATE: ("both", "generate"),
    Lane.REFINE: ("both", "refine"),
    Lane.FINALIZE: ("cpu",),
    Lane.MEASURE: ("cpu",),
}


def serves(kind: WorkerKind, lane: Lane) -> bool:
    """Whether workers of this kind work on the lane."""
    return kind in _KINDS[lane]
