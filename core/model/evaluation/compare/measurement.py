"""How a comparison measures videos: cheap metrics at the published size, and those of networks that are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from core.metrics.evaluation.cheap import CheapInstruments
from core.metrics.evaluation.run import METRICS_VERSION
from core.metrics.video.cuts import HardCuts
from core.metrics.video.drift import Drift
from core.metrics.video.flow import DIS, dis_flow
from core.metrics.video.frames import PUBLISHED_SIZE
from core.metrics.video.metric import Flow, Metric
from core.metrics.video.seams import Borders
from core.metrics.video.warp_error import WarpError
from core.model.evaluation.learned.networks import Networks, learned_metrics, load_networks
from core.model.evaluation.learned.raft import load_raft

FlowName = Literal["dis", "raft"]


@dataclass(frozen=True)
class MeasurementOptions:
    """Which metrics, and with which networks."""

    flow: FlowName = "dis"
    size: int = PUBLISHED_SIZE
    """Frames are resized to size x size for the metrics of optical flow."""
    clip: str | None = None
    """CLIP model: a folder or a Hub name; None: no CLIP score."""
    tower: Path | None = None
    """Folder of a preset whose own towers compare prompt and video; None: no such score."""
    lpips: bool = False
    threads: int = 1


class StandardMeasurement:
    """A Measurement."""

    def __init__(self, options: MeasurementOptions, flow: Flow | None, networks: Networks) -> None:
        self._options, self._flow, self._networks = options, flow, networks

    @property
    def key(self) -> Mapping[str, str]:
        return {
            "metrics version": str(METRICS_VERSION),
            "flow": self.flow,
            "flow size": f"{self._options.size}x{self._options.size}",
            **{package: _installed(package) for package in ("opencv", "scenedetect")},
            **self._networks.models,
        }

    @property
    def flow(self) -> str:
        return "none" if self._flow is None else self._flow.name

    @property
    def notes(self) -> Sequence[str]:
        return self._networks.notes

    def metrics(self, prompt: str, fps: int | Fraction, borders: Borders | None) -> list[Metric]:
        measured_flow = WarpError(self._flow, self._options.size, borders)
        return [HardCuts(float(fps)), measured_flow, Drift(), *self._learned(prompt)]

    def _learned(self, prompt: str) -> list[Metric]:
        """LPIPS at the published size, as methods may have different ones."""
        return learned_metrics(self._networks, prompt, lpips_size=self._options.size)


def _installed(package: str) -> str:
    """The version: another one may find other cuts or another motion, and without it their values are missing."""
    return str(CheapInstruments().options[package] or "missing")


def load_measurement(options: MeasurementOptions) -> StandardMeasurement:
    """Load the networks. One that cannot be loaded is left out with a note, but RAFT raises PresetError: without it
    there would be no flow, and another one's values do not compare."""
    flow = dis_flow() if options.flow == DIS else load_raft()
    if options.flow == DIS and flow is not None:
        importlib.import_module("cv2").setNumThreads(options.threads)
    networks = load_networks(clip=options.clip, tower=options.tower, lpips=options.lpips)
    return StandardMeasurement(options, flow, networks)
