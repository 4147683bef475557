"""Stem `mawe_warp`: forward warping with given flows, and MAWE, through the metric that measures videos."""

from collections.abc import Iterator

import torch
from torch import Tensor

from core.metrics.video.metric import FlowHW2
from core.metrics.video.warp import MAWE_CONSTANT, forward_warp
from core.metrics.video.warp_error import WarpError
from core.service.domain.engine import FrameHWC
from tests.golden.folder import GoldenError
from tests.golden.report import Finding, largest_error
from tests.golden.stem import Stem
from tests.golden.tolerance import tolerance_of


class StoredFlow:
    """The flows of the file, one after the other, whatever the frames are."""

    name = "stored"

    def __init__(self, flows: list[FlowHW2]) -> None:
        self._flows = iter(flows)

    def __call__(self, first: FrameHWC, second: FrameHWC) -> FlowHW2:
        del first, second
        return next(self._flows)


def run(stem: Stem) -> Iterator[Finding]:
    """Warped frames and holes; errors and motion of each pair; MAWE as the published code and as the paper has it."""
    if stem.config["coeff"] != MAWE_CONSTANT:
        raise GoldenError(f"mawe_warp.json: the constant is {stem.config['coeff']}; this code has {MAWE_CONSTANT}")
    frames: list[FrameHWC] = list(_channels_last(stem.given("in.frames_uint8")).numpy())
    flows: list[FlowHW2] = list(_channels_last(stem.given("in.flows")).numpy())
    warped = [forward_warp(frame, flow) for frame, flow in zip(frames[:-1], flows, strict=True)]
    pictures = torch.stack([torch.from_numpy(each.frame) for each in warped])
    yield stem.finding("out.warped", pictures.movedim(-1, 1), ["warped"])
    yield stem.finding("out.hole_mask", torch.stack([torch.from_numpy(each.holes) for each in warped]), ["mask"])

    metric = WarpError(StoredFlow(flows), size=None)
    for frame in frames:
        metric.add(frame)
    curves, values = metric.curves(), metric.values()
    yield stem.finding("out.pair_warp_error", torch.tensor(curves["warp_error"].values), ["MAWE"])
    yield stem.finding("out.pair_mean_flow_norm", torch.tensor(curves["ofs"].values), ["MAWE"])
    yield stem.finding("out.mawe", _number(values["mawe_code"]), ["MAWE"])
    yield _paper_style(stem, _number(values["mawe_v1"]))


def _paper_style(stem: Stem, ours: Tensor) -> Finding:
    """The ratio of two means over the video, which the sidecar has as a number."""
    tolerance = tolerance_of(stem.sidecar, "paper_style_value", ["MAWE"])
    stored = torch.tensor([stem.sidecar["paper_style_value"]], dtype=torch.float64)
    error = largest_error(ours, stored, relative=tolerance.relative)
    return Finding("paper_style_value", error, tolerance.bound, relative=tolerance.relative)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.movedim(1, -1).contiguous()


def _number(value: float | None) -> Tensor:
    return torch.tensor([float("nan") if value is None else value], dtype=torch.float64)
