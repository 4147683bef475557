"""LPIPS to the anchor, around a stand-in for the package `lpips`, which needs torchvision and AlexNet's weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.metrics.video.metric import VideoMetrics, measure
from core.model.checksums import file_sha256
from core.model.evaluation.learned import lpips_anchor
from core.model.evaluation.learned.facts import LEARNED_FACTS
from core.model.evaluation.learned.lpips_anchor import BACKBONE_FILE, LpipsAnchor, LpipsNetwork, load_lpips
from core.service.domain.engine import FramesTHWC
from core.service.domain.errors import PresetError
from tests.unit.core.model.evaluation.learned.conftest import Install, random_video

SIDE = 64
FACTOR = 3.0
read: list[int] = []
"""Frames of each call of the network."""


class Sliced(nn.Module):
    """AlexNet's features as the package cuts them: torchvision's index is the name within a slice."""

    def __init__(self) -> None:
        super().__init__()
        self.slice1 = nn.Sequential()
        self.slice1.add_module("0", nn.Linear(1, 1))
        self.slice2 = nn.Sequential()
        self.slice2.add_module("3", nn.Linear(1, 1))


class StandIn(nn.Module):
    """As lpips.LPIPS: here the distance is the mean absolute difference times the product of the backbone's weights."""

    def __init__(self, net: str, version: str, pnet_rand: bool, verbose: bool) -> None:
        super().__init__()
        assert (net, version, verbose) == ("alex", "0.1", False)
        assert pnet_rand, "otherwise the package downloads the backbone"
        warnings.warn("The parameter 'pretrained' is deprecated since 0.13", stacklevel=1)
        self.net = Sliced()

    def forward(self, in0: Tensor, in1: Tensor) -> Tensor:
        assert in0.shape == (1, *in1.shape[1:]), "the anchor's features are computed once for all frames"
        read.append(len(in1))
        assert in1.dtype == torch.float32
        assert -1 <= in1.min() <= in1.max() <= 1
        weights = self.net.state_dict()
        factor = weights["slice1.0.weight"] * weights["slice2.3.weight"]
        return (in0 - in1).abs().mean((1, 2, 3), keepdim=True) * factor


@pytest.fixture(autouse=True)
def lpips(install: Install) -> None:
    install("lpips", LPIPS=StandIn)
    read.clear()


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    """Beside the features AlexNet's file holds a classifier, which LPIPS has not."""
    names = ("features.0.weight", "features.3.weight", "classifier.1.weight")
    weights = {name: torch.tensor([[FACTOR]]) for name in names}
    biases = {name: torch.zeros(1) for name in ("features.0.bias", "features.3.bias")}
    torch.save({**weights, **biases}, tmp_path / BACKBONE_FILE)
    return tmp_path / BACKBONE_FILE


@pytest.fixture
def network(backbone: Path, monkeypatch: pytest.MonkeyPatch) -> LpipsNetwork:
    monkeypatch.setattr(lpips_anchor, "_SHA256", file_sha256(backbone)[:8])
    return load_lpips(backbone, "cpu")


def measured(network: LpipsNetwork, frames: FramesTHWC) -> VideoMetrics:
    return measure(frames, [LpipsAnchor(network)])


def test_it_is_the_mean_distance_of_the_later_frames(network: LpipsNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips_anchor, "_BATCH_PIXELS", 8 * SIDE * SIDE)
    frames = random_video(20, SIDE, SIDE)  # more than two batches
    scaled = frames / 127.5 - 1
    expected = FACTOR**2 * np.abs(scaled[1:] - scaled[0]).mean((1, 2, 3))
    result = measured(network, frames)
    assert result.values["lpips_anchor"] == pytest.approx(expected.mean(), rel=1e-5)
    assert list(result.curves["lpips_anchor"].values) == pytest.approx(expected, rel=1e-5)
    assert result.notes == ["LPIPS: LPIPS 0.1 (AlexNet), at the video's own size."]
    assert {*result.values, *result.curves} <= set(LEARNED_FACTS)
    assert result.curves["lpips_anchor"].first == 1
    assert read == [8, 8, 3]


def test_videos_of_different_sizes_are_read_at_one_size_where_asked(network: LpipsNetwork) -> None:
    large = random_video(3, SIDE, SIDE).repeat(2, axis=1).repeat(2, axis=2)  # resized they are the small ones
    small = random_video(3, SIDE, SIDE)
    of_large, of_small = (measure(frames, [LpipsAnchor(network, SIDE)]) for frames in (large, small))
    assert of_large.values["lpips_anchor"] == pytest.approx(of_small.values["lpips_anchor"], rel=1e-5)
    assert of_large.notes == ["LPIPS: LPIPS 0.1 (AlexNet), at 64x64."]
    assert measured(network, large).notes != of_large.notes


def test_batches_are_smaller_for_larger_frames(network: LpipsNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips_anchor, "_BATCH_PIXELS", 8 * SIDE * SIDE)
    measured(network, random_video(6, 2 * SIDE, 2 * SIDE))
    measured(network, random_video(3, 4 * SIDE, 4 * SIDE))
    assert read == [2, 2, 1, 1, 1]


def test_another_size_within_a_video_is_refused(network: LpipsNetwork) -> None:
    metric = LpipsAnchor(network)
    metric.add(random_video(1, SIDE, SIDE)[0])
    with pytest.raises(ValueError, match="follows frames of 64x64"):
        metric.add(random_video(1, SIDE, 2 * SIDE)[0])


def test_another_backbone_is_named_by_its_checksum(backbone: Path) -> None:
    assert load_lpips(backbone, "cpu").name == f"LPIPS 0.1 (AlexNet, SHA-256 {file_sha256(backbone)[:8]})"


def test_a_frozen_video_has_no_distance(network: LpipsNetwork) -> None:
    assert measured(network, random_video(1, SIDE, SIDE).repeat(5, axis=0)).values["lpips_anchor"] == 0


def test_a_reader_that_reuses_its_buffer_does_no_harm(network: LpipsNetwork) -> None:
    frames = random_video(5, SIDE, SIDE)
    buffer, metric = np.empty_like(frames[0]), LpipsAnchor(network)
    for frame in frames:
        buffer[:] = frame
        metric.add(buffer)
    assert metric.values() == measured(network, frames).values


def test_one_frame_and_none(network: LpipsNetwork) -> None:
    for frames in (random_video(1, SIDE, SIDE), random_video(0, SIDE, SIDE)):
        result = measured(network, frames)
        assert result.values == {"lpips_anchor": None}
        assert "No LPIPS to the anchor: it needs a video of two frames or more." in result.notes


def test_frames_that_the_network_cannot_read(network: LpipsNetwork) -> None:
    result = measured(network, random_video(3, 62, 100))
    assert result.values == {"lpips_anchor": None}
    assert "No LPIPS: its network reads frames of 63x63 pixels and more." in result.notes


def test_torchvisions_cache_is_read(backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(PresetError, match=rf"checkpoints/{BACKBONE_FILE} is missing"):
        load_lpips(device="cpu")
    cached = tmp_path / "torch" / "hub" / "checkpoints" / BACKBONE_FILE
    cached.parent.mkdir(parents=True)
    backbone.rename(cached)
    assert load_lpips(device="cpu").name.startswith("LPIPS 0.1 (AlexNet")


def test_weights_of_another_network(backbone: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(1, 1)}, backbone)
    with pytest.raises(PresetError, match="does not hold AlexNet's weights"):
        load_lpips(backbone, "cpu")


def test_without_the_package_the_extra_is_named(backbone: Path, uninstall: Callable[[str], None]) -> None:
    uninstall("lpips")
    with pytest.raises(PresetError, match="lpips is not installed") as raised:
        load_lpips(backbone, "cpu")
    assert "pip install 'longtake[lpips]'" in raised.value.with_fix
