"""Folders and settings of an ablation run: its base, its trials, their videos and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from core.model.engines.streaming_t2v.preset import StreamingPreset
from core.model.evaluation.generation.sprites_requests import suite_requests
from core.model.evaluation.generation.stored_figures import read_figures, write_figures
from core.model.evaluation.generation.videos import VideoRequest
from core.model.evaluation.metrics.measurements import Measured
from core.model.training.ablation import Ablation, Budget
from core.model.training.recipe import Recipe
from core.model.training.sprites_preset import preset_config
from core.service.domain.schema import DEFAULT_PROFILE


@dataclass(frozen=True)
class Videos:
    """Which videos every trial makes."""

    prompts: int
    frames: int


@dataclass(frozen=True)
class AblationWorkspace:
    """Where an ablation run works. Each trial has its own folder with its checkpoint, videos and figures."""

    recipe: Recipe
    out: Path
    budget: Budget
    videos: Videos
    work: Path | None = None
    """Working folder with the trained base; not needed for a report of finished trials."""
    smoke: bool = False

    @cached_property
    def preset(self) -> StreamingPreset:
        """The sampling config of all variants: the shipped model's; in a smoke test with one step."""
        config = preset_config()
        profile = config["profiles"][DEFAULT_PROFILE]
        if self.smoke:
            config["profiles"] = {
                DEFAULT_PROFILE: {
                    key: value | {"num_inference_steps": 1} if isinstance(value, dict) else value
                    for key, value in profile.items()
                }
            }
        return StreamingPreset.model_validate(config)

    @property
    def folder(self) -> Path:
        """Output folder of this budget."""
        return self.out / self.budget.name

    @property
    def ablation(self) -> Ablation:
        """The trials, loaded in this process."""
        assert self.work is not None, "only a report needs no base"
        return Ablation(self.recipe, self.work, self.folder, self.budget)

    def seeds(self, count: int) -> list[int]:
        """The seeds of the trials: the recipe's and those after it."""
        return [self.recipe.seed + number for number in range(count)]

    def requests(self, name: str) -> list[VideoRequest]:
        """The videos of the trial of this name."""
        folder = self.folder / name / f"videos-{self.videos.frames}"
        return suite_requests(self.preset, self.videos.prompts, self.videos.frames, folder)

    def figures(self, name: str) -> list[Measured] | None:
        """The figures of a finished trial; None if a video is missing."""
        return read_figures(self._figures_file(name), self.requests(name))

    def store(self, name: str, measured: Sequence[Measured]) -> None:
        """Keep the figures of a finished trial."""
        write_figures(self._figures_file(name), self.requests(name), measured)

    def videos_made(self, name: str) -> int:
        """How many of the trial's videos are stored."""
        return sum(request.frames_file.is_file() for request in self.requests(name))

    def _figures_file(self, name: str) -> Path:
        return self.folder / name / f"figures-{self.videos.frames}.json"
