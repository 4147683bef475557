"""The metrics that need no network, and what readers must know of their values and curves."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.metrics.evaluation.instruments import Asked, Instrument
from core.metrics.video.all_metrics import cheap_metrics
from core.metrics.video.facts import FACTS
from core.metrics.video.flow import DIS
from core.metrics.video.frames import PUBLISHED_SIZE
from core.metrics.video.metric import Fact
from core.metrics.video.warp_error import WarpError

CURVE_FACTS: Mapping[str, Fact] = {
    "ofs": Fact(
        "Flow (pixels)", "Mean length of the flow between neighbouring frames, in pixels of the measured size."
    ),
    "warp_error": Fact(
        "Warp error",
        "Of each pair of neighbouring frames, grey levels squared; peaks are cuts and flicker.",
        decimals=2,
    ),
    "saturation_drift": Fact("Saturation", "Mean HSV saturation of each frame, 0 to 1."),
    "contrast_drift": Fact("Contrast", "Standard deviation of each frame's luma over 255, 0 to 0.5."),
    "sharpness_drift": Fact("Sharpness", "Variance of each frame's Laplacian, grey levels squared.", decimals=1),
    "duplicate_ratio": Fact("Repeated frames", "1 where a frame repeats the frame before, else 0."),
}
"""Where a curve does not show its value itself, but what the value is computed from."""


@dataclass(frozen=True)
class CheapInstruments:
    """Cuts, MAWE and motion by the flow `dis`, drift."""

    size: int | None = PUBLISHED_SIZE
    """Pixels: frames are measured at size x size by metrics of flow; None: as they are."""

    @property
    def options(self) -> Mapping[str, str | int | None]:
        """Also what is installed: without a package its values are missing, and another version may find others."""
        installed = {"opencv": _version("cv2"), "scenedetect": _version("scenedetect")}
        return {"size": self.size, "flow": DIS, **installed}

    @property
    def facts(self) -> Mapping[str, Fact]:
        return FACTS

    @property
    def curve_facts(self) -> Mapping[str, Fact]:
        return CURVE_FACTS

    @property
    def about(self) -> Sequence[str]:
        return about_motion(DIS, self.size)

    @property
    def reads_prompts(self) -> bool:
        return False

    def prepare(self, threads: int) -> None:
        """OpenCV would use all cores in each of several processes."""
        try:
            importlib.import_module("cv2").setNumThreads(threads)
        except ImportError:
            return  # the metrics that need it say so

    def of_video(self, fps: float, asked: Asked) -> Sequence[Instrument]:
        metrics = cheap_metrics(fps, self.size, asked.borders)
        return [Instrument(metric, DIS if isinstance(metric, WarpError) else None) for metric in metrics]


def about_motion(flow: str, size: int | None) -> Sequence[str]:
    """What values of motion come from, and with which others they compare."""
    measured = f"{size}x{size} pixels" if size else "its own size"
    published = f"{PUBLISHED_SIZE}x{PUBLISHED_SIZE}"
    return [
        f"Motion and warp error come from the optical flow {flow} of each video at {measured}. They compare with "
        f"values of the same flow and size only; those of the StreamingT2V paper are of RAFT-large at {published}.",
        f"OFS is how much moves: {_begun(FACTS['ofs'].meaning)} MAWE is how badly that explains the change from frame "
        f"to frame, in three definitions that do not compare. {FACTS['mawe_v2'].title}: "
        f"{_begun(FACTS['mawe_v2'].meaning)} All three are large where nearly nothing moves.",
    ]


def _begun(sentence: str) -> str:
    """A sentence as the end of another one."""
    return sentence[0].lower() + sentence[1:]


def _version(module: str) -> str | None:
    """Of an installed package; None where it is missing."""
    try:
        return str(importlib.import_module(module).__version__)
    except ImportError:
        return None
