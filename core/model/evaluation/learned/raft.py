"""Optical flow by RAFT (arXiv 2003.12039): torchvision's raft_large, as in StreamingT2V's published MAWE.

torchvision is an optional package (the extra `raft`). Its network reads pictures in [-1, 1]; the published code gives
it what torchvision's own transform of these weights makes of uint8 frames, x / 127.5 - 1, and its range 0 to 255 is
that of the frames whose warp error is taken. It leaves the network's 12 updates as they are and takes the last.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from core.metrics.video.metric import FlowHW2
from core.model.checksums import file_sha256
from core.model.evaluation.learned.loading import cached_file, import_package, read_tensors
from core.model.sampling.device import select_device
from core.service.domain.engine import FrameHWC
from core.service.domain.errors import PresetError

RAFT_FILE = "raft_large_C_T_SKHT_V2-ff5fadd5.pth"
"""torchvision's default weights of raft_large. The name ends with the beginning of their SHA-256."""
RAFT_NAME = "raft-large (C_T_SKHT_V2)"
_SHA256 = RAFT_FILE.removesuffix(".pth").rpartition("-")[2]
_UPDATES = 12
_MULTIPLE = 8
_MIN_SIDE = 128
"""Correlations are pooled three times after the features are an eighth of the picture: smaller ones vanish."""


class RaftFlow:
    """A Flow (core.metrics.video.metric), in float32."""

    def __init__(self, name: str, network: Any, device: torch.device) -> None:
        """`network`: torchvision's RAFT."""
        self.name = name
        self._network = network
        self._device = device

    @torch.inference_mode()
    def __call__(self, first: FrameHWC, second: FrameHWC) -> FlowHW2:
        """From the first frame to the second, in pixels, (x, y).

        Frames are taken at their own size. Sides that are no multiple of 8, or shorter than 128, are padded to the
        right and below with the edge's pixels, and the flow there is dropped.
        """
        height, width = first.shape[:2]
        iterates = self._network(self._tensor(first), self._tensor(second), num_flow_updates=_UPDATES)
        flow_hw2: Tensor = iterates[-1][0, :, :height, :width].movedim(0, -1)
        return np.ascontiguousarray(flow_hw2.float().cpu().numpy())

    def _tensor(self, frame: FrameHWC) -> Tensor:
        """[1, 3, padded height, padded width] in [-1, 1]."""
        pixels_hw3 = torch.from_numpy(np.ascontiguousarray(frame)).to(self._device, torch.float32)
        scaled = pixels_hw3.movedim(-1, 0)[None] / 127.5 - 1
        below, right = (_padding(side) for side in frame.shape[:2])
        return functional.pad(scaled, (0, right, 0, below), mode="replicate") if below or right else scaled


def _padding(side: int) -> int:
    """Pixels to add to a side of this length."""
    return max(_MIN_SIDE, -(-side // _MULTIPLE) * _MULTIPLE) - side


def load_raft(weights: Path | None = None, device: str | None = None) -> RaftFlow:
    """RAFT-large with the weights in a file, or those in torchvision's cache. Nothing is downloaded.

    Its name is RAFT_NAME for torchvision's default weights; for others it has the beginning of their SHA-256 instead,
    so that values of different weights do not share a column. `device`: None is CUDA if there is one, else the CPU.
    Raises PresetError.
    """
    optical_flow: Any = import_package("torchvision.models.optical_flow", extra="raft")
    file = weights or cached_file(RAFT_FILE)
    fix = f"put torchvision's {RAFT_FILE} there: docs/evaluation.md says how"
    tensors = read_tensors(file, fix)
    network = optical_flow.raft_large(weights=None, progress=False)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise PresetError(f"{file} does not hold RAFT-large's weights: {str(error)[:200]}", fix=fix) from error
    place = select_device(device)
    return RaftFlow(_name(file), network.eval().requires_grad_(False).to(place), place)


def _name(file: Path) -> str:
    found = file_sha256(file)[: len(_SHA256)]
    return RAFT_NAME if found == _SHA256 else f"raft-large (SHA-256 {found})"
