"""Limits on one request, so that no job holds a worker for minutes while others wait.

The lower of the deployment's limit (settings) and the model's (`limits` in preset.json) applies; a model's own defaults
are always allowed. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.service.domain.errors import InvalidField
from core.service.engines.preset import LimitName, Preset
from core.service.engines.refiner import RefinerPreset
from core.service.settings import Settings


@dataclass(frozen=True)
class Limit:
    """A maximum, and who set it, for messages."""

    most: int
    set_by: str

    def check(self, field: str, asked: int) -> None:
        """Raises InvalidField with the limit, who set it, and the fix."""
        if asked > self.most:
            message = f"{field} is {asked}; the most is {self.most}, {self.set_by}"
            raise InvalidField(message, field=field, fix=f"give at most {self.most}")


@dataclass(frozen=True)
class RefineLimits:
    """Limits on a refinement."""

    steps: Limit
    pixels: Limit
    """Pixels of a refined frame."""
    lockstep_frames: Limit
    """Frames of a video refined in lockstep: each of its steps computes all frames."""


def limit_of(name: LimitName, preset: Preset, settings: Settings, own: int = 0) -> Limit:
    """The limit `name` of Settings and preset.json; never below `own`, the model's own default."""
    of_deployment, of_model = int(getattr(settings, name)), getattr(preset.effective_limits, name)
    limit = Limit(of_deployment, f"set by this deployment (LONGTAKE_{name.upper()})")
    if of_model is not None and of_model < of_deployment:
        limit = Limit(int(of_model), f"set by the model {preset.name}")
    if own > limit.most:
        limit = Limit(own, f"the model's own default, above the {limit.most} {limit.set_by}")
    return limit


def refine_limits(preset: Preset, refiner: RefinerPreset, settings: Settings) -> RefineLimits:
    """The limits on refining with a preset's refiner."""
    return RefineLimits(
        steps=limit_of("max_refine_steps", preset, settings, refiner.num_inference_steps),
        pixels=limit_of("max_refine_pixels", preset, settings, refiner.width * refiner.height),
        lockstep_frames=limit_of("max_lockstep_frames", preset, settings),
    )
