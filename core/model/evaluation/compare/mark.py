"""Why published figures and ours do not compare, from what a comparison is made of. Stands by every table with both."""

from __future__ import annotations

from core.metrics.video.frames import PUBLISHED_SIZE
from core.model.evaluation.compare.prompts import papers_prompts
from core.model.evaluation.compare.results import Results
from core.model.evaluation.learned.raft import RAFT_NAME

_PAPERS_PRESET, _PAPERS_PROFILE, _PAPERS_FRAMES = "modelscope", "reference", 240


def mark_of(results: Results) -> str:
    """A sentence that names everything in which the published videos and their measurement differ from ours."""
    return f"Published figures are of the paper's own videos: {', '.join(_differences(results))}."


def _differences(results: Results) -> list[str]:
    plan, by = results.plan, results.by
    size = f"{PUBLISHED_SIZE}x{PUBLISHED_SIZE}"
    found = {
        "each method's own model, where ours share one": True,
        "other prompts": list(plan.prompts) != papers_prompts(),
        "other weights": plan.preset != _PAPERS_PRESET,
        "another sampling": plan.profile != _PAPERS_PROFILE,
        "another length": plan.frames != _PAPERS_FRAMES,
        "another flow": by.get("flow") != RAFT_NAME,
        "flow of another size": by.get("flow size", size) != size,
        "a CLIP model that the paper does not state": "clip" in by,
        "a CLIP score where ours is the own tower's": "clip" not in by and "tower" in by,
    }
    # Longtake enhances no first chunk before other methods go on from it.
    return [*(text for text, differs in found.items() if differs), f"first chunks enhanced to {size}"]
