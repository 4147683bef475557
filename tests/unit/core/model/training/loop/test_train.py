"""The training loop: logs, samples, batches per step, and resuming."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from core.model.training.loop.checkpoints import CheckpointMismatch
from core.model.training.loop.plan import Plan
from core.model.training.loop.train import train
from core.service.domain.errors import SetupError

PLAN = Plan(steps=4, learning_rate=1e-2, final_rate=1.0, warmup_steps=0, mixed_precision="no", log_every_steps=1)


class Line:
    """Fits y = 2x; a batch is seeded by its number. Records the batches it was called with."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.layer = nn.Linear(1, 1)
        self.modules = {"line": self.layer}
        self.batches: list[int] = []

    def loss(self, step: int) -> Tensor:
        self.batches.append(step)
        x = torch.rand((4, 1), generator=torch.Generator().manual_seed(step))
        return ((self.layer(x) - 2 * x) ** 2).mean()


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_an_interrupted_run_resumes_to_the_same_losses(tmp_path: Path) -> None:
    train(Line(), PLAN, tmp_path / "whole")
    train(Line(), replace(PLAN, steps=2), tmp_path / "parts")
    train(Line(), PLAN, tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == 4


@pytest.mark.parametrize(
    ("plan", "seed", "message"),
    [(PLAN, 2, "with seed 1, now it is 2: set seed back to 1"), (replace(PLAN, accumulate=2), 1, "with accumulate 1")],
)
def test_a_checkpoint_with_different_pinned_values_is_refused(
    tmp_path: Path, plan: Plan, seed: int, message: str
) -> None:
    train(Line(), replace(PLAN, steps=2), tmp_path, pinned={"seed": 1})
    with pytest.raises(CheckpointMismatch, match=message):
        train(Line(), plan, tmp_path, pinned={"seed": seed})


def test_a_checkpoint_without_pinned_values_is_resumed(tmp_path: Path) -> None:
    train(Line(), replace(PLAN, steps=2), tmp_path)
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    torch.save({key: value for key, value in content.items() if key != "origin"}, tmp_path / "last.pt")
    assert train(Line(), PLAN, tmp_path, pinned={"seed": 2}) == 4


def test_a_finished_stage_may_be_run_again_with_different_values(tmp_path: Path) -> None:
    train(Line(), PLAN, tmp_path, pinned={"batch": 1})
    assert train(Line(), PLAN, tmp_path, pinned={"batch": 2}) == 4


def test_weights_of_another_size_are_refused_by_name(tmp_path: Path) -> None:
    train(Line(), PLAN, tmp_path)
    wider = Line()
    wider.layer = nn.Linear(1, 2)
    wider.modules = {"line": wider.layer}
    with pytest.raises(CheckpointMismatch, match=r"of other sizes \(line: size mismatch for weight"):
        train(wider, replace(PLAN, steps=9), tmp_path)


def test_log_lines_after_the_last_checkpoint_are_removed(tmp_path: Path) -> None:
    train(Line(), replace(PLAN, steps=2), tmp_path)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 3, "seconds": 9.0, "loss": 9.0}\n')
    train(Line(), PLAN, tmp_path)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_an_accumulated_step_uses_consecutive_batches(tmp_path: Path) -> None:
    task = Line()
    train(task, replace(PLAN, steps=2, accumulate=3), tmp_path)
    assert task.batches == [0, 1, 2, 3, 4, 5]


def test_tensorboard_shows_loss_rate_and_speed(tmp_path: Path) -> None:
    train(Line(), PLAN, tmp_path)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["scalars"] == ["loss", "learning_rate", "steps_per_second"]
    assert [event.value for event in events.Scalars("learning_rate")] == pytest.approx([1e-2] * 4)


def test_training_without_tensorboard_names_the_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard.writer", raising=False)
    with pytest.raises(SetupError, match="tensorboard"):
        train(Line(), PLAN, tmp_path)


def test_sampling_does_not_change_training(tmp_path: Path) -> None:
    quiet, shown = Line(), Line()
    train(quiet, PLAN, tmp_path / "quiet")
    seen: list[int] = []

    def sample(step: int) -> None:
        seen.append(step)
        torch.rand(3)

    before = torch.random.get_rng_state()
    train(shown, replace(PLAN, sample_every_seconds=0), tmp_path / "shown", sample)
    assert seen == [1, 2, 3, 4, 4]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert losses(tmp_path / "quiet") == losses(tmp_path / "shown")


def test_samples_are_made_with_averaged_weights(tmp_path: Path) -> None:
    task = Line()
    seen: list[Tensor] = []
    train(task, PLAN, tmp_path, lambda _step: seen.append(task.layer.weight.clone()))
    assert torch.equal(seen[-1], task.layer.weight)  # a finished stage leaves the average
    last = torch.load(tmp_path / "last.pt", weights_only=True)["modules"]["line"]["weight"]
    assert not torch.equal(last, task.layer.weight)


class TwoRates(Line):
    """The same line; its bias has ten times the learning rate."""

    def __init__(self) -> None:
        super().__init__()
        self.rate_factors = {self.layer.bias: 10.0}


def test_a_parameter_may_have_a_learning_rate_of_its_own(tmp_path: Path) -> None:
    """AdamW's first step changes each parameter by its learning rate."""
    task, plan = TwoRates(), replace(PLAN, steps=1, weight_decay=0.0, ema_decay=0.0)
    weight, bias = task.layer.weight.item(), task.layer.bias.item()
    train(task, plan, tmp_path)
    content = torch.load(tmp_path / "last.pt", weights_only=True)["modules"]["line"]
    assert abs(content["weight"].item() - weight) == pytest.approx(1e-2, rel=1e-3)
    assert abs(content["bias"].item() - bias) == pytest.approx(1e-1, rel=1e-3)


def test_a_run_with_two_rates_resumes_to_the_same_losses(tmp_path: Path) -> None:
    train(TwoRates(), PLAN, tmp_path / "whole")
    train(TwoRates(), replace(PLAN, steps=2), tmp_path / "parts")
    train(TwoRates(), PLAN, tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_an_unfinished_run_of_a_version_with_other_rates_is_refused(tmp_path: Path) -> None:
    train(Line(), replace(PLAN, steps=2), tmp_path)
    with pytest.raises(CheckpointMismatch, match="other learning rates of single weights: start a new run"):
        train(TwoRates(), PLAN, tmp_path)
    assert train(TwoRates(), replace(PLAN, steps=2), tmp_path) == 2
