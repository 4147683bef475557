"""The training loop that every stage shares: optimise, average, log, sample, checkpoint, resume.

What is trained is defined by a task, which computes the loss of a step. All randomness of a step is seeded by
(seed, stage, step), so a resumed run sees the same data in the same order as an uninterrupted one. Devices, mixed
precision and several processes are handled by accelerate (parallel.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from core.model.training.loop import parallel
from core.model.training.loop.averaging import ParameterAverage
from core.model.training.loop.checkpoints import (
    CHECKPOINT,
    CheckpointMismatch,
    is_trained,
    load_weights,
    module_weights,
    read_checkpoint,
    trained_parameters,
    write_checkpoint,
)
from core.model.training.loop.plan import Plan, is_over, progress, rate_factor
from core.model.training.loop.training_log import StepMetrics, open_log

Sampler = Callable[[int], None]
"""Shows what the networks can do after this many steps. Called with averaged weights, without gradients."""


class Task(Protocol):
    """What the loop needs to know of a stage.

    A task may also have `rate_factors`: parameters with learning rates of their own, as multiples of the stage's.
    """

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Trained modules by name; their parameters that require gradients are optimised and averaged."""
        ...

    def loss(self, step: int) -> Tensor:
        """Scalar loss of one step; every random choice in it is seeded by `step`."""
        ...


def train(
    task: Task, plan: Plan, folder: Path, sampler: Sampler | None = None, pinned: Mapping[str, int | str] | None = None
) -> int:
    """Train until the plan is used up and leave the averaged weights in the modules; returns the total steps done.

    `folder` gets last.pt (resumed if present), log.jsonl and TensorBoard event files. `sampler` is called from time to
    time, and at the end of a stage that took a step; it does not affect training. `pinned` are the recipe entries that
    determine the data of a step: a checkpoint with different values is refused. Raises CheckpointMismatch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trainer = _Trainer(task, plan, pinned or {})
    step, seconds = trainer.resume(folder)
    own_sampler = sampler if sampler is not None and parallel.rank() == 0 else None
    saved = sampled = time.monotonic()
    took_step = False
    with open_log(folder, step, plan.log_every_steps) as log:
        while not is_over(plan, step, seconds):
            began = time.monotonic()
            rate = trainer.set_rate(step, seconds)
            loss = trainer.optimise(step)
            step, took_step = step + 1, True
            seconds = parallel.agreed(seconds + time.monotonic() - began, trainer.accelerator.device)
            log.add(StepMetrics(step, seconds, progress(plan, step, seconds), loss, rate))
            if time.monotonic() - saved > plan.save_every_seconds:
                trainer.save(folder, step, seconds)
                saved = time.monotonic()
            if own_sampler and time.monotonic() - sampled > plan.sample_every_seconds:
                trainer.sample(own_sampler, step)
                sampled = time.monotonic()
        trainer.save(folder, step, seconds)
    if own_sampler and took_step:
        trainer.sample(own_sampler, step)
    trainer.average.copy_to(trainer.parameters)
    parallel.wait_for_all()
    return step


class _Trainer:
    """One stage's parameters with their optimiser and average."""

    def __init__(self, task: Task, plan: Plan, pinned: Mapping[str, int | str]) -> None:
        self.task = task
        self.plan = plan
        self.pinned = {**pinned, "accumulate": plan.accumulate, "processes": parallel.world_size()}
        self.accelerator: Accelerator = parallel.join(plan.mixed_precision)
        self.parameters = trained_parameters(task.modules)
        self.factors, groups = _groups(self.parameters, getattr(task, "rate_factors", {}))
        optimiser = torch.optim.AdamW(
            groups,
            lr=plan.learning_rate,
            betas=(0.9, plan.beta2),
            weight_decay=plan.weight_decay,
            fused=True,
        )
        # The prepared optimiser applies the loss scaling that fp16 needs, and skips steps that overflowed.
        self.optimiser = self.accelerator.prepare_optimizer(optimiser, device_placement=False)
        self.average = ParameterAverage(self.parameters, plan.ema_decay)

    def set_rate(self, step: int, seconds: float) -> float:
        """Set the learning rate of a step and return it, without the factors of single parameters."""
        rate = self.plan.learning_rate * rate_factor(progress(self.plan, step, seconds), step, self.plan)
        for group, factor in zip(self.optimiser.param_groups, self.factors, strict=True):
            group["lr"] = rate * factor
        return rate

    def optimise(self, step: int) -> float:
        """Take one step and return its loss, the mean over its batches in this process."""
        self.optimiser.zero_grad()
        batches = [self._backward(step * self.plan.accumulate + batch) for batch in range(self.plan.accumulate)]
        parallel.average([p.grad for p in self.parameters if p.grad is not None])
        self.accelerator.clip_grad_norm_(self.parameters, self.plan.clip_norm)
        self.optimiser.step()
        self.average.update(self.parameters, step)
        return sum(float(loss) for loss in batches) / len(batches)

    def _backward(self, batch: int) -> Tensor:
        """Add the gradients of one batch of this process; returns its loss."""
        with _unfused_attention(self.accelerator.device):
            with self.accelerator.autocast():
                loss = self.task.loss(batch * parallel.world_size() + parallel.rank())
            self.accelerator.backward(loss / self.plan.accumulate)
        return loss.detach()

    def sample(self, sampler: Sampler, step: int) -> None:
        """Call the sampler with averaged weights; weights and random state are restored afterwards."""
        with self.average.applied_to(self.parameters), torch.no_grad(), torch.random.fork_rng():
            sampler(step)

    def save(self, folder: Path, step: int, seconds: float) -> None:
        """Write last.pt, in the first process only."""
        if parallel.rank() != 0:
            return
        content: dict[str, Any] = {
            **module_weights(self.task.modules),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.shadow,
            "step": step,
            "spent": seconds,
            "origin": self.pinned,
        }
        if self.accelerator.scaler is not None:
            content["scaler"] = self.accelerator.scaler.state_dict()
        write_checkpoint(folder, content)

    def resume(self, folder: Path) -> tuple[int, float]:
        """Load last.pt if present; returns (steps done, seconds trained). Raises CheckpointMismatch."""
        if not is_trained(folder):
            return 0, 0.0
        content, path = read_checkpoint(folder), folder / CHECKPOINT
        step, seconds = int(content["step"]), float(content["spent"])
        if not is_over(self.plan, step, seconds):
            # Older checkpoints have no "origin".
            _require_same(path, content.get("origin", {}), self.pinned)
        load_weights(path, self.task.modules, content["modules"])
        if "optimiser" in content:  # absent from an initial checkpoint
            self._load_optimiser(path, content["optimiser"], unfinished=not is_over(self.plan, step, seconds))
        averages = cast("list[Tensor]", content["average"])
        self.average.shadow = [mean.to(own.device) for mean, own in zip(averages, self.parameters, strict=True)]
        if self.accelerator.scaler is not None and "scaler" in content:
            self.accelerator.scaler.load_state_dict(content["scaler"])
        return step, seconds

    def _load_optimiser(self, path: Path, state: dict[str, Any], *, unfinished: bool) -> None:
        """Raises CheckpointMismatch for an unfinished stage of a version with other groups of parameters."""
        if len(state["param_groups"]) == len(self.factors):
            self.optimiser.load_state_dict(state)
        elif unfinished:
            fix = "start a new run in another folder with --out"
            raise CheckpointMismatch(f"{path} is of a version with other learning rates of single weights: {fix}")


def _groups(
    parameters: list[nn.Parameter], factors: Mapping[nn.Parameter, float]
) -> tuple[list[float], list[dict[str, Any]]]:
    """Learning-rate factors and AdamW's group of each: its parameters, in the same order. Factor 1 comes first."""
    of_factor: dict[float, list[nn.Parameter]] = {1.0: []}
    for parameter in parameters:
        of_factor.setdefault(factors.get(parameter, 1.0), []).append(parameter)
    used = {factor: own for factor, own in of_factor.items() if own}
    return list(used), [{"params": own} for own in used.values()]


def _require_same(path: Path, stored: Mapping[str, int], pinned: Mapping[str, int | str]) -> None:
    """Raises CheckpointMismatch if a pinned entry differs from the checkpoint's."""
    for entry, value in pinned.items():
        before = stored.get(entry, value)
        if before != value:
            fix = f"set {entry} back to {before}, or start a new run in another folder with --out"
            raise CheckpointMismatch(f"{path} was trained with {entry} {before}, now it is {value}: {fix}")


@contextmanager
def _unfused_attention(device: torch.device) -> Generator[None]:
    """Plain matrix products on a CPU: there the fused attention kernel's bf16 backward is several times slower."""
    with sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext():
        yield
