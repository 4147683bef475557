"""Pipelines report their steps before they run, can be ended by any, and can be run again afterwards."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.model.pipelines.steps import StepReporter, parameters_of
from core.service.domain.engine import ignore_step
from core.service.domain.errors import Interrupted, NotFinite
from tests.helpers.engine_contract import StopAt
from tests.helpers.poison import INFINITY, NAN

STEPS = 3


class Pipeline:
    """Adds 1 to its latents in each of 3 steps, then lets a decoder read them."""

    def __init__(self, decoded: Callable[[Tensor], Any] = lambda latents: latents) -> None:
        self.steps_run = 0
        self.times_freed = 0
        self.vae = SimpleNamespace(decoder=Decoder(decoded))

    def maybe_free_model_hooks(self) -> None:
        self.times_freed += 1

    def __call__(self, start: float, callback_on_step_end: Callable[..., dict[str, Any]]) -> Tensor:
        latents = torch.full((1, 4), start)
        for step in range(STEPS):
            self.steps_run += 1
            latents = callback_on_step_end(self, step, 100 - step, {"latents": latents + 1})["latents"]
        self.vae.decoder(latents)
        return latents


class Decoder(nn.Module):
    def __init__(self, decoded: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self._decoded = decoded

    def forward(self, latents: Tensor) -> Any:
        return self._decoded(latents)


class OlderPipeline(Pipeline):
    """As deprecated pipelines are called."""

    def __call__(self, start: float, callback: Callable[[int, int, Tensor], None]) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        latents = torch.full((1, 4), start)
        for step in range(STEPS):
            latents = latents + 1
            callback(step, 100 - step, latents)
        return latents


class PipelineWithoutDecoder(Pipeline):
    def __init__(self) -> None:
        super().__init__()
        del self.vae

    def __call__(self, start: float) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.full((1, 4), start)


def seen_by(pipeline: Any, **changed: Any) -> list[tuple[int, int]]:
    """What is reported of one run."""
    seen = list[tuple[int, int]]()
    StepReporter(lambda step, steps: seen.append((step, steps)), STEPS, **changed).run(pipeline, {"start": 0.0})
    return seen


@pytest.mark.parametrize("kind", [Pipeline, OlderPipeline])
def test_each_step_is_reported_before_it_runs(kind: type[Pipeline]) -> None:
    assert seen_by(kind()) == [(0, 3), (1, 3), (2, 3)]


def test_steps_are_counted_with_those_of_other_pipelines_of_the_chunk() -> None:
    assert seen_by(Pipeline(), steps_before=2, steps_after=4) == [(2, 9), (3, 9), (4, 9)]


def test_of_a_pipeline_without_callback_the_first_step_is_reported() -> None:
    assert seen_by(PipelineWithoutDecoder()) == [(0, 3)]


@pytest.mark.parametrize("step", range(STEPS))
def test_an_interrupt_ends_the_run_at_its_step_and_the_next_run_is_whole(step: int) -> None:
    pipeline = Pipeline()

    with pytest.raises(Interrupted):
        StepReporter(StopAt(step), STEPS).run(pipeline, {"start": 0.0})

    assert pipeline.steps_run == step
    assert pipeline.times_freed == (1 if step else 0)  # nothing was loaded before the first step
    assert seen_by(pipeline) == [(0, 3), (1, 3), (2, 3)]
    assert not pipeline.vae.decoder._forward_hooks


@pytest.mark.parametrize("value", [NAN, INFINITY])
@pytest.mark.parametrize("in_tuple", [False, True])
def test_a_decoder_whose_output_is_not_finite_fails_the_chunk(value: float, in_tuple: bool) -> None:
    pipeline = Pipeline(lambda latents: (latents * value,) if in_tuple else latents * value)
    reporter = StepReporter(ignore_step, STEPS, chunk="chunk 4", stage="image model")

    with pytest.raises(NotFinite, match="chunk 4, image model: "):
        reporter.run(pipeline, {"start": 0.0})

    assert pipeline.times_freed == 1
    assert not pipeline.vae.decoder._forward_hooks


def test_latents_may_be_changed_after_each_step() -> None:
    def doubled(step: int, latents: Tensor) -> Tensor:
        return latents * 2 if step == 1 else latents

    made = StepReporter(ignore_step, STEPS, change_latents=doubled).run(Pipeline(), {"start": 0.0})

    assert made.tolist() == [[5.0] * 4]


def test_the_arguments_of_a_pipeline_are_known_by_name() -> None:
    assert {"start", "callback"} <= parameters_of(OlderPipeline())
