"""RAFT's wrapper, around a stand-in for torchvision's network: what goes into it, and which part of its output is read.

The real network needs torchvision and its weights, which the tests do not have.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from core.metrics.video.metric import Flow
from core.model.evaluation.learned import raft
from core.model.evaluation.learned.raft import RAFT_FILE, RAFT_NAME, RaftFlow, load_raft
from core.service.domain.errors import PresetError
from tests.unit.core.model.evaluation.learned.conftest import Install, random_video


class StandIn(nn.Module):
    """As torchvision's RAFT: refuses what it refuses; its last iterate shows both pictures and the weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, image1: Tensor, image2: Tensor, num_flow_updates: int = 12) -> list[Tensor]:
        assert image1.shape == image2.shape
        assert image1.dtype == image2.dtype == torch.float32
        assert not self.training
        height, width = image1.shape[-2:]
        if height % 8 or width % 8:
            raise ValueError("input image H and W should be divisible by 8")
        assert min(height, width) >= 128, "the coarsest correlations would vanish"
        last = torch.stack([image1[:, 0] + self.weight, image2[:, 2]], dim=1)
        return [torch.full_like(last, torch.nan)] * (num_flow_updates - 1) + [last]


@pytest.fixture(autouse=True)
def torchvision(install: Install) -> None:
    def raft_large(*, weights: Any, progress: bool) -> StandIn:
        assert weights is None, "nothing is downloaded"
        assert not progress
        return StandIn()

    install("torchvision")
    install("torchvision.models")
    install("torchvision.models.optical_flow", raft_large=raft_large)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save({"weight": torch.tensor(5.0)}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.mark.parametrize("size", [(128, 136), (130, 171), (64, 64), (20, 300)])
def test_the_flow_is_the_last_iterate_at_the_frames_size(weights: Path, size: tuple[int, int]) -> None:
    first, second = random_video(2, *size)
    flow = load_raft(weights, "cpu")(first, second)
    assert flow.shape == (*size, 2)
    assert flow.dtype == np.float32
    assert flow[..., 0] == pytest.approx(first[..., 0] / 127.5 - 1 + 5, abs=1e-5)
    assert flow[..., 1] == pytest.approx(second[..., 2] / 127.5 - 1, abs=1e-5)


@pytest.mark.parametrize(("side", "padded"), [(720, 720), (721, 728), (128, 128), (64, 128), (1, 128)])
def test_padding_repeats_the_edge(monkeypatch: pytest.MonkeyPatch, weights: Path, side: int, padded: int) -> None:
    read: list[Tensor] = []
    forward = StandIn.forward

    def spied(self: StandIn, image1: Tensor, image2: Tensor, num_flow_updates: int) -> list[Tensor]:
        read.append(image1)
        return forward(self, image1, image2, num_flow_updates)

    monkeypatch.setattr(StandIn, "forward", spied)
    frame = random_video(1, side, 128)[0]
    load_raft(weights, "cpu")(frame, frame)
    assert read[0].shape == (1, 3, padded, 128)
    below = read[0][:, :, side:]
    assert below.equal(read[0][:, :, side - 1 : side].expand_as(below))


def test_other_weights_are_named_by_their_checksum(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = load_raft(weights, "cpu").name
    assert other.startswith("raft-large (SHA-256 ")
    monkeypatch.setattr(raft, "_SHA256", other.removeprefix("raft-large (SHA-256 ").removesuffix(")"))
    published: Flow = load_raft(weights, "cpu")
    assert published.name == RAFT_NAME == "raft-large (C_T_SKHT_V2)"


def test_torchvisions_cache_is_read(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(PresetError, match=rf"checkpoints/{RAFT_FILE} is missing"):
        load_raft(device="cpu")
    cached = tmp_path / "torch" / "hub" / "checkpoints" / RAFT_FILE
    cached.parent.mkdir(parents=True)
    weights.rename(cached)
    assert load_raft(device="cpu")(*random_video(2)).shape == (20, 28, 2)


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04"])
def test_files_that_are_no_weights(weights: Path, content: bytes) -> None:
    weights.write_bytes(content)
    with pytest.raises(PresetError, match="holds no weights"):
        load_raft(weights, "cpu")


def test_weights_of_another_network(weights: Path) -> None:
    torch.save({"other": torch.zeros(1)}, weights)
    with pytest.raises(PresetError, match="does not hold RAFT-large's weights"):
        load_raft(weights, "cpu")


def test_a_list_is_no_weights(weights: Path) -> None:
    torch.save([1, 2], weights)
    with pytest.raises(PresetError, match="holds no weights"):
        load_raft(weights, "cpu")


def test_without_torchvision_the_extra_is_named(weights: Path, uninstall: Callable[[str], None]) -> None:
    uninstall("torchvision.models.optical_flow")
    uninstall("torchvision")
    with pytest.raises(PresetError, match="torchvision is not installed") as raised:
        load_raft(weights, "cpu")
    assert "pip install 'longtake[raft]'" in raised.value.with_fix


def test_a_shift_comes_out_as_it_is() -> None:
    """(x, y): the first channel counts columns. A network that finds a planted shift by comparing pictures."""

    class Searching(nn.Module):
        def forward(self, image1: Tensor, image2: Tensor, num_flow_updates: int) -> list[Tensor]:
            assert num_flow_updates == 12
            shifts = [(x, y) for x in range(-4, 5) for y in range(-4, 5)]
            errors = [functional.mse_loss(image1.roll((y, x), (2, 3)), image2) for x, y in shifts]
            found = shifts[int(torch.stack(errors).argmin())]
            return [torch.tensor(found, dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, *image1.shape[-2:])]

    first = random_video(1, 128, 128)[0]
    second = np.roll(first, (-2, 3), axis=(0, 1))
    flow = RaftFlow("stand-in", Searching(), torch.device("cpu"))(first, second)
    assert flow.reshape(-1, 2).min(0).tolist() == flow.reshape(-1, 2).max(0).tolist() == [3, -2]
