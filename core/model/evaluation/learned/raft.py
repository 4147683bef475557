"""RAFT's optical flow."""

from __future__ import annotations

from pathlib import Path

from core.metrics.video.metric import FlowHW2
from core.service.domain.engine import FrameHWC

RAFT_NAME = "raft-large (C_T_SKHT_V2)"


class RaftFlow:
    """A Flow."""

    name: str

    def __call__(self, first: FrameHWC, second: FrameHWC) -> FlowHW2:
        raise NotImplementedError


def load_raft(weights: Path | None = None, device: str | None = None) -> RaftFlow:
    """torchvision's raft_large with `weights`, or those in torchvision's cache. Raises PresetError."""
    raise NotImplementedError
