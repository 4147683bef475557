"""How long and how fast a stage trains: its plan, its progress and the learning-rate schedule. Numbers only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from core.model.training.loop import parallel

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Seconds = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Plan:
    """Length and optimiser settings of a stage. It ends at `steps` or after `minutes` of training, whichever is first.

    The learning rate falls along a cosine to that end.
    """

    steps: Count
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    minutes: Annotated[float, Field(gt=0)] = math.inf
    accumulate: Count = 1
    """Batches per step: their gradients are averaged."""
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    final_rate: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Learning rate at the end, as a share of `learning_rate`."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    beta2: Share = 0.99
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    ema_decay: Share = 0.998
    mixed_precision: parallel.Precision = "bf16"
    save_every_seconds: Seconds = 120.0
    sample_every_seconds: Seconds = 600.0
    log_every_steps: Count = 50


def is_over(plan: Plan, step: int, seconds: float) -> bool:
    """Whether a stage has used up its steps or its minutes."""
    return step >= plan.steps or seconds >= plan.minutes * 60


def progress(plan: Plan, step: int, seconds: float) -> float:
    """Share of the stage that is done, in [0, 1]; the last step may go slightly past 1."""
    return max(step / plan.steps, seconds / (plan.minutes * 60))


def rate_factor(progress: float, step: int, plan: Plan) -> float:
    """Learning-rate factor in (0, 1]: linear warm-up, then a cosine from 1 to `final_rate` over progress in [0, 1]."""
    warm = min(1.0, (step + 1) / max(1, plan.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return warm * (plan.final_rate + (1 - plan.final_rate) * cosine)
