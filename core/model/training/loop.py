"""The training loop every stage shares: optimise, average, log, checkpoint, resume.

Knows nothing of what is trained: a task gives the loss of a step. All randomness of a step comes from
(seed, stage, step), so a resumed run sees the same data in the same order as an uninterrupted one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from core.model.training import parallel

CHECKPOINT = "last.pt"
"""What a stage leaves in its folder."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train. A stage ends at `steps` or after `minutes` of training, whichever is first."""

    steps: int
    minutes: float
    learning_rate: float
    warmup_steps: int = 50
    final_rate: float = 0.05
    weight_decay: float = 0.01
    beta2: float = 0.99
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    bf16: bool = True
    save_every_seconds: float = 120.0


class Task(Protocol):
    """One stage as the loop sees it."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Trained modules by name; their parameters that require gradients are optimised and averaged."""
        ...

    def loss(self, step: int) -> Tensor:
        """Scalar loss of one step; every random choice inside is derived from `step`."""
        ...


class Average:
    """Exponential moving average of the trained parameters, warmed up so that early steps count."""

    def __init__(self, parameters: list[nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.shadow = [parameter.detach().clone() for parameter in parameters]

    def update(self, parameters: list[nn.Parameter], step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, parameter in zip(self.shadow, parameters, strict=True):
                mean.lerp_(parameter.detach(), 1 - decay)

    def copy_to(self, parameters: list[nn.Parameter]) -> None:
        with torch.no_grad():
            for parameter, shadow in zip(parameters, self.shadow, strict=True):
                parameter.copy_(shadow)


def trained_parameters(modules: Mapping[str, nn.Module]) -> list[nn.Parameter]:
    """List the parameters that a stage optimises, in the order of names."""
    return [p for name in sorted(modules) for p in modules[name].parameters() if p.requires_grad]


def rate_factor(progress: float, step: int, plan: Plan) -> float:
    """Learning-rate factor: linear warm-up, then a cosine from 1 to `final_rate` over the run's progress in [0, 1]."""
    warm = min(1.0, (step + 1) / max(1, plan.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return warm * (plan.final_rate + (1 - plan.final_rate) * cosine)


def train(task: Task, plan: Plan, folder: Path) -> int:
    """Train until the plan is used up and leave the averaged weights in the modules; returns the steps done.

    `folder` keeps last.pt (resumed from where present) and log.jsonl.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = trained_parameters(task.modules)
    optimiser = torch.optim.AdamW(
        parameters, lr=plan.learning_rate, betas=(0.9, plan.beta2), weight_decay=plan.weight_decay
    )
    average = Average(parameters, plan.ema_decay)
    step, spent = resume(folder, task, optimiser, average)
    saved = time.monotonic()
    losses: list[float] = []
    while step < plan.steps and spent < plan.minutes * 60:
        began = time.monotonic()
        progress = max(step / plan.steps, spent / (plan.minutes * 60))
        for group in optimiser.param_groups:
            group["lr"] = plan.learning_rate * rate_factor(progress, step, plan)
        losses.append(optimise(task, step, optimiser, parameters, plan))
        average.update(parameters, step)
        step += 1
        spent = parallel.agreed(spent + time.monotonic() - began)
        if step % 50 == 0:
            log(folder, step, spent, losses)
            losses = []
        if time.monotonic() - saved > plan.save_every_seconds:
            save(folder, task, optimiser, average, step, spent)
            saved = time.monotonic()
    save(folder, task, optimiser, average, step, spent)
    average.copy_to(parameters)
    parallel.wait_for_all()
    return step


def optimise(
    task: Task, step: int, optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter], plan: Plan
) -> float:
    """Take one step and return its loss."""
    optimiser.zero_grad(set_to_none=True)
    # The fused attention kernel's bf16 backward is several times slower on a CPU than plain matrix products.
    with sdpa_kernel(SDPBackend.MATH):
        with torch.autocast("cpu", torch.bfloat16, enabled=plan.bf16):
            loss = task.loss(step * parallel.world_size() + parallel.rank())
        loss.backward()
    parallel.average([p.grad for p in parameters if p.grad is not None])
    nn.utils.clip_grad_norm_(parameters, plan.clip_norm)
    optimiser.step()
    return float(loss.detach())


def log(folder: Path, step: int, spent: float, losses: list[float]) -> None:
    """Append a line of figures to log.jsonl."""
    if parallel.rank() != 0:
        return
    mean = sum(losses) / max(1, len(losses))
    with (folder / "log.jsonl").open("a") as lines:
        lines.write(json.dumps({"step": step, "seconds": round(spent, 1), "loss": round(mean, 5)}) + "\n")


def save(folder: Path, task: Task, optimiser: torch.optim.Optimizer, average: Average, step: int, spent: float) -> None:
    """Write last.pt atomically: a run killed midway finds the checkpoint before it."""
    if parallel.rank() != 0:
        return
    content = {
        "modules": {name: module.state_dict() for name, module in task.modules.items()},
        "optimiser": optimiser.state_dict(),
        "average": average.shadow,
        "step": step,
        "spent": spent,
    }
    torch.save(content, folder / f"{CHECKPOINT}.new")
    (folder / f"{CHECKPOINT}.new").replace(folder / CHECKPOINT)


def resume(folder: Path, task: Task, optimiser: torch.optim.Optimizer, average: Average) -> tuple[int, float]:
    """Load last.pt where there is one; returns (steps done, seconds spent)."""
    path = folder / CHECKPOINT
    if not path.exists():
        return 0, 0.0
    content = torch.load(path, weights_only=True)
    for name, module in task.modules.items():
        module.load_state_dict(content["modules"][name])
    optimiser.load_state_dict(content["optimiser"])
    average.shadow = cast("list[Tensor]", content["average"])
    return int(content["step"]), float(content["spent"])


class StageMissing(RuntimeError):
    """An earlier stage, whose weights this one builds on, has left no checkpoint in the working folder."""


def load_averaged(folder: Path, modules: Mapping[str, nn.Module]) -> None:
    """Load a stage's averaged weights into freshly built modules. Raises StageMissing."""
    path = folder / CHECKPOINT
    if not path.exists():
        raise StageMissing(f"{path} is missing: train the stage {folder.name!r} first")
    content = torch.load(path, weights_only=True)
    for name, module in modules.items():
        module.load_state_dict(content["modules"][name])
    with torch.no_grad():
        for parameter, mean in zip(trained_parameters(modules), content["average"], strict=True):
            parameter.copy_(mean)
