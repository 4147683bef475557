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

from core.metrics.video.frames import resize_as_published, shape_like_before
from core.metrics.video.metric import Curve
from core.model.checksums import file_sha256
from core.model.evaluation.learned.loading import cached_file, import_package, read_tensors
from core.model.evaluation.learned.running import RunningScore
from core.model.sampling.device import select_device
from core.service.domain.engine import FrameHWC
from core.service.domain.errors import PresetError

BACKBONE_FILE = "alexnet-owt-7be5be79.pth"
"""AlexNet's ImageNet weights of torchvision; the name ends with the beginning of their SHA-256. The package brings
LPIPS' own weights, but not these."""
_SHA256 = BACKBONE_FILE.removesuffix(".pth").rpartition("-")[2]
_MIN_SIDE = 63
"""The smallest pictures that torchvision names for AlexNet."""
_BATCH_PIXELS = 4 * 2**20
"""Of the frames that the network reads at a time: 8 of 720x720, one of 4K. Their first features alone are 64 numbers
for each 16 pixels."""
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
        # A single anchor for all frames: the package subtracts features, so that they are computed once.
        distances: Tensor = self._network(self._tensor([anchor]), self._tensor(frames))
        return distances.flatten().tolist()

    def _tensor(self, frames: Sequence[FrameHWC]) -> Tensor:
        """[T, 3, height, width] in [-1, 1], at the frames' own size."""
        pixels = torch.from_numpy(np.stack(frames)).to(self._device, torch.float32)
        return pixels.movedim(-1, 1) / 127.5 - 1


def load_lpips(backbone: Path | None = None, device: str | None = None) -> LpipsNetwork:
    """LPIPS with AlexNet. Nothing is downloaded.

    `backbone`: torchvision's AlexNet weights; None: in torchvision's cache, where the package itself puts them. Others
    are named by the beginning of their SHA-256, so that values of different weights do not share a column.
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
    return LpipsNetwork(_name(file), network.eval().requires_grad_(False).to(place), place)


def _name(file: Path) -> str:
    found = file_sha256(file)[: len(_SHA256)]
    return "LPIPS 0.1 (AlexNet)" if found == _SHA256 else f"LPIPS 0.1 (AlexNet, SHA-256 {found})"


def _published(name: str) -> str:
    """torchvision's name of a weight that the package calls "slice2.3.weight": it cuts AlexNet's features in slices."""
    return _FEATURES + name.partition(".")[2]


class LpipsAnchor:
    """`lpips_anchor`: mean over frames t >= 1 of LPIPS(frame 0, frame t), at least 0.

    `size`: frames are resized to size x size, bilinear, so that videos of different sizes compare; None: as they are.

    Memory holds the anchor and one batch of frames, of at most _BATCH_PIXELS or one frame, whatever the video's length.
    """

    def __init__(self, lpips: LpipsNetwork, size: int | None = None) -> None:
        self._lpips = lpips
        self._size = size
        self._anchor: FrameHWC | None = None
        self._shape: tuple[int, ...] | None = None
        self._waiting: list[FrameHWC] = []
        self._distance = RunningScore(first=1)

    def add(self, frame: FrameHWC) -> None:
        """Raises ValueError if its size is not that of the frames before."""
        self._shape = shape_like_before(frame, self._shape)
        read = frame.copy() if self._size is None else resize_as_published(frame, self._size)
        if self._anchor is None:
            self._anchor = read
        elif not self._is_too_small():
            self._waiting.append(read)
            height, width = read.shape[:2]
            if len(self._waiting) >= max(1, _BATCH_PIXELS // (height * width)):
                self._measure_waiting()

    def values(self) -> Mapping[str, float | int | None]:
        self._measure_waiting()
        return {"lpips_anchor": self._distance.mean()}

    def curves(self) -> Mapping[str, Curve]:
        self._measure_waiting()
        return {} if self._distance.mean() is None else {"lpips_anchor": self._distance.curve()}

    def notes(self) -> Sequence[str]:
        self._measure_waiting()
        at = "the video's own size" if self._size is None else f"{self._size}x{self._size}"
        notes = [f"LPIPS: {self._lpips.name}, at {at}."]
        if self._is_too_small():
            notes.append(f"No LPIPS: its network reads frames of {_MIN_SIDE}x{_MIN_SIDE} pixels and more.")
        elif self._distance.mean() is None:
            notes.append("No LPIPS to the anchor: it needs a video of two frames or more.")
        return notes

    def _is_too_small(self) -> bool:
        return self._anchor is not None and min(self._anchor.shape[:2]) < _MIN_SIDE

    def _measure_waiting(self) -> None:
        if self._anchor is None or not self._waiting:
            return
        for distance in self._lpips.distances(self._anchor, self._waiting):
            self._distance.add(distance)
        self._waiting.clear()
