"""The compared methods by name: strategies on one preset's networks, ablation trials, and installed presets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from core.model.evaluation.methods.method import Method, MethodFacts
from core.service.settings import Settings


@dataclass(frozen=True)
class MethodOptions:
    """Where methods find their networks. Picklable: processes load their own methods."""

    settings: Settings = field(default_factory=Settings)
    """Folders of presets and weights, and CPU threads."""
    preset: str = "sprites"
    """The preset of engine `streaming_t2v` on whose networks the strategies work."""
    work: Path | None = None
    """Working folder of `longtake train` on whose base the ablation trials were trained."""
    trials: Path | None = None
    """Folder of the trials of one budget, such as out/evaluation/ablations/300-steps-2-processes."""
    trial_seed: int | None = None
    """Of the trial's training; None: the recipe's, which is the first that a run trains."""
    recipe: str = "sprites"
    """The recipe trained in `work`."""


def method_names(options: MethodOptions) -> list[str]:
    """Strategies and trials, then installed presets that make a video from a prompt or an image."""
    raise NotImplementedError


def method_facts(name: str, options: MethodOptions) -> MethodFacts:
    """What is known without loading. Raises UnknownMethod with the names that exist, and PresetError."""
    raise NotImplementedError


def load_method(name: str, options: MethodOptions) -> Method:
    """The method with its networks. Raises as `method_facts` does, ModelNotInstalled, and TrialNotTrained, which says
    what to run."""
    raise NotImplementedError
