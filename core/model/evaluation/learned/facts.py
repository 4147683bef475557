"""What readers of the values of metrics with networks must know."""

from __future__ import annotations

from core.metrics.video.metric import Fact

PREFIXES = (120, 140, 160, 180, 200, 220)
"""Lengths of the paper's table "stability over length", in frames."""

_CLIP = "StreamingT2V (arXiv 2403.14773), section 5.1; the CLIP model is not stated there"
_TOWER = "the preset's own text and image encoder; compares with values of the same preset only"


def _prefix_fact(frames: int) -> Fact:
    return Fact(
        title=f"CLIP, first {frames}",
        meaning=f"CLIP score of the first {frames} frames, 100 times the cosine.",
        better="higher",
        source=f"{_CLIP}; its table of stability over length",
        decimals=2,
    )


LEARNED_FACTS: dict[str, Fact] = {
    "clip_score": Fact(
        title="CLIP",
        meaning="Mean over all frames of 100 times the cosine of prompt and frame, not clamped; -100 to 100.",
        better="higher",
        source=_CLIP,
        decimals=2,
    ),
    "clip_slope": Fact(
        title="CLIP drift",
        meaning="Change of the CLIP score per 100 frames: slope of the least-squares line over frames.",
        better="higher",
        source="ours; the paper's table of stability over length is of prefixes, whose mean falls half as fast",
    ),
    **{f"clip_score_{frames}": _prefix_fact(frames) for frames in PREFIXES},
    "clip_identity": Fact(
        title="CLIP-I to anchor",
        meaning="Mean over the later frames of the cosine of CLIP's embeddings of a frame and of frame 0; -1 to 1.",
        better="higher",
        source="CLIP-I of DreamBooth (arXiv 2208.12242), against frame 0; not the paper's face re-identification",
    ),
    "tower_score": Fact(
        title="own tower",
        meaning="Mean over whole chunks of 16 frames of 100 times the cosine of prompt and chunk; -100 to 100.",
        better="higher",
        source=_TOWER,
        decimals=2,
    ),
    "tower_slope": Fact(
        title="own tower drift",
        meaning="Change of the own tower's score per 100 frames: slope of the least-squares line over chunks.",
        better="higher",
        source=_TOWER,
    ),
    "tower_identity": Fact(
        title="own tower to anchor",
        meaning="Mean over the later frames of the cosine of the own tower's embeddings of a frame and of frame 0.",
        better="higher",
        source=_TOWER,
    ),
    "lpips_anchor": Fact(
        title="LPIPS to anchor",
        meaning="Mean over the later frames of their LPIPS distance to frame 0; 0 is equal.",
        better="lower",
        source="LPIPS (arXiv 1801.03924), AlexNet, version 0.1; as in the paper's ablation of APM",
    ),
}
"""By name of the value."""
