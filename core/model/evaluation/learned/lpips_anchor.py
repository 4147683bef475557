"""LPIPS (arXiv 1801.03924) of each frame to the anchor frame, by the package `lpips`.

StreamingT2V reports it in its ablation of APM: how far later frames are from the anchor, 0.192 without APM and 0.151
with it. It states neither its backbone nor the frames' size.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.metrics.video.metric import Curve
from core.model.evaluation.learned.loading import cached_file, import_package, read_tensors
from core.model.evaluation.learned.running import RunningScore
from core.model.sampling.device import select_device
from core.service.domain.engine import FrameHWC
from core.service.domain.errors import PresetError

BACKBONE_FILE = "alexnet-owt-7be5be79.pth"
"""AlexNet's ImageNet weights of torchvision. The package brings LPIPS' own weights, but not these."""
_MIN_SIDE = 63
"""The smallest pictures that torchvision names for AlexNet."""
_BATCH = 8
_FEATURES = "features."


class LpipsNetwork:
    """LPIPS with AlexNet, version 0.1, in float32."""

    def __init__(self, name: str, network: Any, device: torch.device) -> None:
        """`network`: the package's LPIPS."""
        self.name = name
        self._network = network
        self._device = device

    @torch.inference_mode()
    def distances(self, anchor: FrameHWC, frames: Sequence[FrameHWC]) -> list[float]:
        """Of each frame to the anchor; at least 0, which equal frames have. All of one size."""
        compared = self._tensor(frames)
        distances: Tensor = self._network(self._tensor([anchor]).expand_as(compared), compared)
        return distances.flatten().tolist()

    def _tensor(self, frames: Sequence[FrameHWC]) -> Tensor:
        """[T, 3, height, width] in [-1, 1], at the frames' own size."""
        pixels = torch.from_numpy(np.stack(frames)).to(self._device, torch.float32)
        return pixels.movedim(-1, 1) / 127.5 - 1


def load_lpips(backbone: Path | None = None, device: str | None = None) -> LpipsNetwork:
    """LPIPS with AlexNet. Nothing is downloaded.

    `backbone`: torchvision's AlexNet weights; None: in torchvision's cache, where the package itself puts them.
    `device`: None is CUDA if there is one, else the CPU. Raises PresetError.
    """
    lpips: Any = import_package("lpips", extra="lpips")
    file = backbone or cached_file(BACKBONE_FILE)
    fix = f"put torchvision's {BACKBONE_FILE} there: docs/evaluation.md says how"
    weights = read_tensors(file, fix)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package builds its backbone by an argument that torchvision deprecates
        # A backbone with random weights, which are replaced below: otherwise the package downloads them.
        network = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    try:
        network.net.load_state_dict({name: weights[_published(name)] for name in network.net.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise PresetError(f"{file} does not hold AlexNet's weights: {error}", fix=fix) from error
    place = select_device(device)
    return LpipsNetwork("LPIPS 0.1 (AlexNet)", network.eval().requires_grad_(False).to(place), place)


def _published(name: str) -> str:
    """torchvision's name of a weight that the package calls "slice2.3.weight": it cuts AlexNet's features in slices."""
    return _FEATURES + name.partition(".")[2]


class LpipsAnchor:
    """`lpips_anchor`: mean over frames t >= 1 of LPIPS(frame 0, frame t), at least 0, at the video's own size.

    Memory holds the anchor and one batch of frames, whatever the video's length.
    """

    def __init__(self, lpips: LpipsNetwork) -> None:
        self._lpips = lpips
        self._anchor: FrameHWC | None = None
        self._waiting: list[FrameHWC] = []
        self._distance = RunningScore()

    def add(self, frame: FrameHWC) -> None:
        if self._anchor is None:
            self._anchor = frame.copy()
        elif not self._is_too_small():
            self._waiting.append(frame.copy())
            if len(self._waiting) == _BATCH:
                self._measure_waiting()

    def values(self) -> Mapping[str, float | int | None]:
        self._measure_waiting()
        return {"lpips_anchor": self._distance.mean()}

    def curves(self) -> Mapping[str, Curve]:
        self._measure_waiting()
        return {} if self._distance.mean() is None else {"lpips_anchor": self._distance.curve()}

    def notes(self) -> Sequence[str]:
        self._measure_waiting()
        notes = [f"LPIPS: {self._lpips.name}, at the video's own size."]
        if self._is_too_small():
            notes.append(f"No LPIPS: its network reads frames of {_MIN_SIDE}x{_MIN_SIDE} pixels and more.")
        elif self._distance.mean() is None:
            notes.append("No LPIPS to the anchor: the video has one frame.")
        return notes

    def _is_too_small(self) -> bool:
        return self._anchor is not None and min(self._anchor.shape[:2]) < _MIN_SIDE

    def _measure_waiting(self) -> None:
        if self._anchor is None or not self._waiting:
            return
        for distance in self._lpips.distances(self._anchor, self._waiting):
            self._distance.add(distance)
        self._waiting.clear()
