"""The training loop every stage shares: optimise, average, tell, sample, checkpoint, resume.

Knows nothing of what is trained: a task gives the loss of a step. All randomness of a step comes from
(seed, stage, step), so a resumed run sees the same data in the same order as an uninterrupted one. Devices, mixed
precision and several processes are accelerate's matter (parallel.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, cast

import torch
from accelerate import Accelerator
from pydantic import Field
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from core.model.training import parallel
from core.model.training.journal import Moment, kept_journal

CHECKPOINT = "last.pt"
"""What a stage leaves in its folder."""

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Seconds = Annotated[float, Field(ge=0)]

Sampler = Callable[[int], None]
"""Shows what the networks can do after so many steps. Called with averaged weights, without gradients."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train. A stage ends at `steps` or after `minutes` of training, whichever is first."""

    steps: Count
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    minutes: Annotated[float, Field(gt=0)] = math.inf
    accumulate: Count = 1
    """Batches per step: their gradients are averaged."""
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    final_rate: Annotated[float, Field(ge=0, le=1)] = 0.05
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    beta2: Share = 0.99
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    ema_decay: Share = 0.998
    mixed_precision: parallel.Precision = "bf16"
    save_every_seconds: Seconds = 120.0
    sample_every_seconds: Seconds = 600.0
    log_every_steps: Count = 50


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

    @contextmanager
    def in_place(self, parameters: list[nn.Parameter]) -> Generator[None]:
        """Within the block the parameters hold their averages; afterwards what they held before, bit for bit."""
        own = [parameter.detach().clone() for parameter in parameters]
        self.copy_to(parameters)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, values in zip(parameters, own, strict=True):
                    parameter.copy_(values)


def trained_parameters(modules: Mapping[str, nn.Module]) -> list[nn.Parameter]:
    """List the parameters that a stage optimises, in the order of names."""
    return [p for name in sorted(modules) for p in modules[name].parameters() if p.requires_grad]


def begin_stage(folder: Path, modules: Mapping[str, nn.Module]) -> None:
    """Leave the modules' weights in `folder` as a checkpoint of no steps: the stage begins with them."""
    folder.mkdir(parents=True, exist_ok=True)
    average = [parameter.detach().clone() for parameter in trained_parameters(modules)]
    _write_checkpoint(folder, {**_weights_of(modules), "average": average, "step": 0, "spent": 0.0})


def _weights_of(modules: Mapping[str, nn.Module]) -> dict[str, Any]:
    return {"modules": {name: module.state_dict() for name, module in modules.items()}}


def _write_checkpoint(folder: Path, content: dict[str, Any]) -> None:
    """Write last.pt atomically: a run killed midway finds the checkpoint before it."""
    torch.save(content, folder / f"{CHECKPOINT}.new")
    (folder / f"{CHECKPOINT}.new").replace(folder / CHECKPOINT)


def rate_factor(progress: float, step: int, plan: Plan) -> float:
    """Learning-rate factor: linear warm-up, then a cosine from 1 to `final_rate` over the run's progress in [0, 1]."""
    warm = min(1.0, (step + 1) / max(1, plan.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return warm * (plan.final_rate + (1 - plan.final_rate) * cosine)


def train(
    task: Task, plan: Plan, folder: Path, sampler: Sampler | None = None, origin: Mapping[str, int] | None = None
) -> int:
    """Train until the plan is used up and leave the averaged weights in the modules; returns the steps done.

    `folder` keeps last.pt (resumed from where present), log.jsonl and TensorBoard's events. `sampler` is called now and
    then, and at the end of a stage that took a step; it changes nothing of what is trained. `origin` are the recipe's
    entries that decide what a step sees: a checkpoint made with others is not gone on from. Raises OtherRun.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trainer = _Trainer(task, plan, origin or {})
    step, spent = trainer.resume(folder)
    shown = sampler if sampler is not None and parallel.rank() == 0 else None
    saved = sampled = time.monotonic()
    fresh = False
    with kept_journal(folder, step, plan.log_every_steps) as journal:
        while not is_over(plan, step, spent):
            began = time.monotonic()
            rate = trainer.set_rate(step, spent)
            loss = trainer.optimise(step)
            step, fresh = step + 1, True
            spent = parallel.agreed(spent + time.monotonic() - began, trainer.accelerator.device)
            journal.note(Moment(step, spent, plan_progress(plan, step, spent), loss, rate))
            if time.monotonic() - saved > plan.save_every_seconds:
                trainer.save(folder, step, spent)
                saved = time.monotonic()
            if shown and time.monotonic() - sampled > plan.sample_every_seconds:
                trainer.show(shown, step)
                sampled = time.monotonic()
        trainer.save(folder, step, spent)
    if shown and fresh:
        trainer.show(shown, step)
    trainer.average.copy_to(trainer.parameters)
    parallel.wait_for_all()
    return step


def is_over(plan: Plan, step: int, spent: float) -> bool:
    """Whether a stage has taken its steps, or its time."""
    return step >= plan.steps or spent >= plan.minutes * 60


def plan_progress(plan: Plan, step: int, spent: float) -> float:
    """Share of the stage that is done, in [0, 1] but for the last step's surplus of time."""
    return max(step / plan.steps, spent / (plan.minutes * 60))


class _Trainer:
    """One stage's parameters with their optimiser and average."""

    def __init__(self, task: Task, plan: Plan, origin: Mapping[str, int]) -> None:
        self.task = task
        self.plan = plan
        self.origin = {**origin, "accumulate": plan.accumulate, "processes": parallel.world_size()}
        self.accelerator: Accelerator = parallel.join(plan.mixed_precision)
        self.parameters = trained_parameters(task.modules)
        optimiser = torch.optim.AdamW(
            self.parameters, lr=plan.learning_rate, betas=(0.9, plan.beta2), weight_decay=plan.weight_decay, fused=True
        )
        # Prepared, it steps through the loss scaler that fp16 needs, and skips steps that overflowed.
        self.optimiser = self.accelerator.prepare_optimizer(optimiser, device_placement=False)
        self.average = Average(self.parameters, plan.ema_decay)

    def set_rate(self, step: int, spent: float) -> float:
        """Set the learning rate of a step and return it."""
        rate = self.plan.learning_rate * rate_factor(plan_progress(self.plan, step, spent), step, self.plan)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
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
        """Add the gradients of one batch of this process; its loss."""
        with _plain_attention(self.accelerator.device):
            with self.accelerator.autocast():
                loss = self.task.loss(batch * parallel.world_size() + parallel.rank())
            self.accelerator.backward(loss / self.plan.accumulate)
        return loss.detach()

    def show(self, sampler: Sampler, step: int) -> None:
        """Sample with averaged weights and leave everything, random state included, as it was."""
        with self.average.in_place(self.parameters), torch.no_grad(), torch.random.fork_rng():
            sampler(step)

    def save(self, folder: Path, step: int, spent: float) -> None:
        """Write last.pt, in the first process."""
        if parallel.rank() != 0:
            return
        content: dict[str, Any] = {
            **_weights_of(self.task.modules),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.shadow,
            "step": step,
            "spent": spent,
            "origin": self.origin,
        }
        if self.accelerator.scaler is not None:
            content["scaler"] = self.accelerator.scaler.state_dict()
        _write_checkpoint(folder, content)

    def resume(self, folder: Path) -> tuple[int, float]:
        """Load last.pt where there is one; returns (steps done, seconds spent). Raises OtherRun."""
        path = folder / CHECKPOINT
        if not path.exists():
            return 0, 0.0
        content = torch.load(path, weights_only=True, map_location="cpu")
        step, spent = int(content["step"]), float(content["spent"])
        if not is_over(self.plan, step, spent):
            # Older checkpoints do not say what they were made with.
            _check_origin(path, content.get("origin", {}), self.origin)
        _load_weights(path, self.task.modules, content["modules"])
        if "optimiser" in content:  # not of a stage that begins with given weights
            self.optimiser.load_state_dict(content["optimiser"])
        averages = cast("list[Tensor]", content["average"])
        self.average.shadow = [mean.to(own.device) for mean, own in zip(averages, self.parameters, strict=True)]
        if self.accelerator.scaler is not None and "scaler" in content:
            self.accelerator.scaler.load_state_dict(content["scaler"])
        return step, spent


def _check_origin(path: Path, made_with: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    """Refuse to go on with other data than the checkpoint began with. Raises OtherRun."""
    for entry, value in wanted.items():
        before = made_with.get(entry, value)
        if before != value:
            fix = f"set {entry} back to {before}, or begin anew in another folder with --out"
            raise OtherRun(f"{path} was trained with {entry} {before}, now it is {value}: {fix}")


def _load_weights(path: Path, modules: Mapping[str, nn.Module], weights: Mapping[str, Any]) -> None:
    """Put a checkpoint's weights into the modules. Raises OtherRun where they do not fit."""
    for name, module in modules.items():
        try:
            module.load_state_dict(weights[name])
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip()
            fix = "restore the recipe's [networks], or begin anew in another folder with --out"
            raise OtherRun(f"{path} was trained with networks of other sizes ({name}: {first}): {fix}") from error


@contextmanager
def _plain_attention(device: torch.device) -> Generator[None]:
    """Plain matrix products on a CPU: there the fused attention kernel's bf16 backward is several times slower."""
    with sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext():
        yield


class CheckpointError(RuntimeError):
    """What a stage has left in its folder cannot be used; the message says what to do."""


class OtherRun(CheckpointError):
    """The checkpoint was made with other entries of the recipe."""


class StageMissing(CheckpointError):
    """An earlier stage, whose weights this one builds on, has left no checkpoint in the working folder."""


def check_trained(folder: Path) -> None:
    """Refuse the folder of a stage that has left no checkpoint. Raises StageMissing."""
    if not (folder / CHECKPOINT).is_file():
        raise StageMissing(f"{folder / CHECKPOINT} is missing: train the stage {folder.name!r} first")


def load_averaged(folder: Path, modules: Mapping[str, nn.Module]) -> None:
    """Load a stage's averaged weights into freshly built modules. Raises StageMissing, OtherRun."""
    check_trained(folder)
    content = torch.load(folder / CHECKPOINT, weights_only=True, map_location="cpu")
    _load_weights(folder / CHECKPOINT, modules, content["modules"])
    with torch.no_grad():
        for parameter, mean in zip(trained_parameters(modules), content["average"], strict=True):
            parameter.copy_(mean)
