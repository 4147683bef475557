"""What may explain an expected result that is not confirmed, and the experiment that would decide it.

Shown only where the result is not confirmed. Each explanation is a hypothesis with a test of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """A possible reason, and the experiment that would show whether it is the reason."""

    why: str
    experiment: str


_MORE_STEPS = "`--train-steps 1000` and `3000`: if the difference grows with the steps, the budget was the reason"
_COARSE_CUTS = Explanation(
    "hard cuts are counted in whole numbers and most videos have none, so few videos decide",
    "the same trials with more and longer videos (`--prompts 50 --frames 240`)",
)

EXPLANATIONS: Mapping[str, Explanation] = {
    "cam > concat: hard cuts": Explanation(
        "concatenation receives the history as latents, each frame in its place; CAM has to learn to read pictures and"
        " to attend to the right frame, which takes steps",
        _MORE_STEPS,
    ),
    "cam > add: hard cuts": Explanation(
        "the additive branch also sees which frame a picture belongs to, without learning to attend; CAM may need more"
        " steps",
        _MORE_STEPS,
    ),
    "concat > add: hard cuts": _COARSE_CUTS,
    "cam > concat: seams": Explanation("as for hard cuts", _MORE_STEPS),
    "cam > add: seams": Explanation("as for hard cuts", _MORE_STEPS),
    "cam > none: seams": Explanation(
        "CAM does not use the history yet",
        "the loss of CAM and of no conditioning on the same samples; they are equal as long as the mergers output zero",
    ),
    "cam-apm > cam: identity": Explanation(
        "the anchor's embedding does not contain what gets lost, or APM's alpha stays near zero in so few steps",
        "`longtake evaluate --suite anchor` on the base's image encoder, and alpha after `--train-steps 3000`",
    ),
    "cam-apm > cam: texture": Explanation(
        "the anchor's embedding does not contain the surface pattern",
        "`longtake evaluate --suite anchor`: if texture and surface are not read above chance, train the image encoder",
    ),
    "cam-apm > cam: distance": Explanation(
        "moving objects dominate the distance, whatever the memory",
        "the same with standing objects only",
    ),
    "cam-apm > noise-0: texture": Explanation("drift is small after so few frames", "the same with `--frames 480`"),
    "cam-apm > noise-0: objects": Explanation("drift is small after so few frames", "the same with `--frames 480`"),
}
"""By claim (Expectation.claim)."""
