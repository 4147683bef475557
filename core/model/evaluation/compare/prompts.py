"""The prompts of a comparison: a file's, those of the sprites world, or the paper's.

prompts.txt has the 50 test set prompts of StreamingT2V's paper (arXiv 2403.14773v2, section 11), word for word. They
are data of the paper, by its authors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.model.evaluation.generation.sprites_requests import SUITE_SEED, suite_scenes
from core.model.training.sprites import captions, world
from core.service.engines.preset import Preset

NUM_PROMPTS = 50
SEED = SUITE_SEED
"""Of the first prompt; the next ones have the next seeds. So videos of the sprites world are those of its suite."""

_FILE = Path(__file__).with_name("prompts.txt")


@dataclass(frozen=True)
class Prompts:
    """Prompts, and where they are from in words for people."""

    prompts: Sequence[str]
    source: str


def shows_sprites(preset: Preset) -> bool:
    """Whether a preset shows the sprites world, so that its prompts are held-out captions of that world."""
    return (preset.height, preset.width) == (world.SIZE, world.SIZE)


def default_prompts(preset: Preset) -> Prompts:
    """50 prompts that the preset can show."""
    if shows_sprites(preset):
        held_out = [captions.plain_caption(scene) for scene in suite_scenes(NUM_PROMPTS)]
        return Prompts(held_out, f"the {NUM_PROMPTS} held-out prompts of the sprites world")
    return Prompts(papers_prompts(), f"the {NUM_PROMPTS} of the paper (arXiv 2403.14773v2, section 11)")


def papers_prompts() -> list[str]:
    """The paper's, in its order."""
    return [line for line in _FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
