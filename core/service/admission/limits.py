"""How much one request may ask, so that no job holds a worker for minutes between two chunks of others.

The lower of the deployment's limit (settings) and the model's (`limits` in preset.json) wins; what a model takes by
itself, where a request says nothing, is always allowed. Pure. Knows no request: the door (admission.py) asks here.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.service.admission.catalog import LimitName, Preset, RefinerDefaults
from core.service.domain.errors import InvalidField
from core.service.domain.first_chunk_sources import BASE, MAX_PIPELINE_STEPS
from core.service.settings import Settings


@dataclass(frozen=True)
class Limit:
    """The most that may be asked, and who says so, for people."""

    most: int
    set_by: str

    def check(self, field: str, asked: int) -> None:
        """Raises InvalidField with the limit, where it comes from, and the fix."""
        if asked > self.most:
            message = f"{field} is {asked}; the most is {self.most}, {self.set_by}"
            raise InvalidField(message, field=field, fix=f"give at most {self.most}")


@dataclass(frozen=True)
class RefineLimits:
    """What may be asked of a refiner."""

    steps: Limit
    pixels: Limit
    """Of a refined frame."""
    lockstep_frames: Limit
    """Of a video refined in lockstep, whose steps each go over all frames."""


def limit_of(name: LimitName, facts: Preset, settings: Settings, own: int = 0) -> Limit:
    """A limit by its name, the same in Settings and in preset.json; never below `own`, the model's own default."""
    of_deployment, of_model = int(getattr(settings, name)), getattr(facts.limits, name)
    limit = Limit(of_deployment, f"set by this deployment (LONGTAKE_{name.upper()})")
    if of_model is not None and of_model < of_deployment:
        limit = Limit(int(of_model), f"set by the model {facts.name}")
    if name == "max_first_chunk_steps" and facts.first_chunk_source != BASE and limit.most > MAX_PIPELINE_STEPS:
        limit = Limit(MAX_PIPELINE_STEPS, f"set by the first-chunk source {facts.first_chunk_source}")
    if own > limit.most:
        limit = Limit(own, f"the model's own default, above the {limit.most} {limit.set_by}")
    return limit


def refine_limits(facts: Preset, refiner: RefinerDefaults, settings: Settings) -> RefineLimits:
    """Those of a preset's refiner."""
    return RefineLimits(
        steps=limit_of("max_refine_steps", facts, settings, refiner.num_inference_steps),
        pixels=limit_of("max_refine_pixels", facts, settings, refiner.width * refiner.height),
        lockstep_frames=limit_of("max_lockstep_frames", facts, settings),
    )
