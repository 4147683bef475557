"""What the suites `ablations` and `history-noise` compare: variants, metrics, and the results that are expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.model.evaluation.reports.ablation_report import ComparedMetric, Expectation
from core.model.training.ablation import CONDITIONINGS, HISTORY_NOISES, LAST_FRAME, WHOLE_ENCODER, Variant

_CUTS = ComparedMetric("hard cuts", "hard cuts per video", lambda m: None if m.cuts is None else float(m.cuts), "lower")
_SEAMS = ComparedMetric(
    "seams", "step across window borders over step inside", lambda m: m.video.window_seam_ratio, "lower"
)
_IDENTITY = ComparedMetric(
    "identity", "likeness of last chunk and anchor (own tower)", lambda m: m.tower.anchor_likeness
)
_DISTANCE = ComparedMetric(
    "distance", "distance of last chunk and anchor (own tower)", lambda m: m.tower.anchor_distance, "lower"
)
_TEXTURE = ComparedMetric("texture", "texture kept (correlation)", lambda m: m.video.texture_kept)
_OBJECTS = ComparedMetric("objects", "right objects in the last chunk's frames", lambda m: m.video.right_objects_at_end)
METRICS = (
    _CUTS,
    _SEAMS,
    ComparedMetric(
        "warp error", "motion-aware warp error, block flow", lambda m: m.flow.motion_aware_warp_error, "lower"
    ),
    ComparedMetric("motion", "motion kept (last chunk over first)", lambda m: m.video.motion_kept),
    _TEXTURE,
    ComparedMetric("background", "background kept (correlation)", lambda m: m.video.background_kept),
    _IDENTITY,
    _DISTANCE,
    _OBJECTS,
)
_PAPER = (
    Expectation("cam", "concat", _CUTS, "the paper: 0.03 against 0.24 cuts"),
    Expectation("cam", "add", _CUTS, "the paper: 0.03 against 0.284 cuts"),
    Expectation("concat", "add", _CUTS, "the paper: 0.24 against 0.284 cuts"),
    Expectation("cam-apm", "cam", _IDENTITY, "the paper: re-identification 94.95 against 93.42"),
    Expectation("cam-apm", "cam", _DISTANCE, "the paper: LPIPS 0.151 against 0.192"),
    Expectation("cam-apm", "cam", _TEXTURE, "in addition to the paper's re-identification"),
    Expectation("cam", "concat", _SEAMS, "in addition to the paper's cuts"),
    Expectation("cam", "add", _SEAMS, "in addition to the paper's cuts"),
    Expectation("cam", "none", _SEAMS, "not in the paper: is the history used at all?"),
)
_NOISE = (
    Expectation("cam-apm", "noise-0", _TEXTURE, "does it reduce drift?"),
    Expectation("cam-apm", "noise-0", _OBJECTS, "does it reduce drift?"),
)
WITHOUT_LPIPS = (
    "LPIPS and re-identification need weights that are not available: distance and likeness to the anchor are computed"
    " by the preset's own vision tower. The warp error is MAWE with block matching at 64x64 in place of RAFT."
)


@dataclass(frozen=True)
class AblationStudy:
    """Variants that are compared, the expected results, and the default videos."""

    title: str
    variants: Sequence[Variant]
    expectations: Sequence[Expectation]
    prompts: int
    frames: int
    on_request: Sequence[Variant] = ()
    """Variants that are trained only if they are named."""

    def chosen(self, names: Sequence[str] | None) -> list[Variant]:
        """The variants of these names, in the study's order; without names all but those on request."""
        everything = (*self.variants, *self.on_request)
        return [variant for variant in everything if variant.name in names] if names else list(self.variants)


STUDIES: Mapping[str, AblationStudy] = {
    "ablations": AblationStudy(
        "Short- and long-term memory", CONDITIONINGS, _PAPER, 20, 96, (WHOLE_ENCODER, LAST_FRAME)
    ),
    "history-noise": AblationStudy("History noise", HISTORY_NOISES, _NOISE, 10, 240),
}
