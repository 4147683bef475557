"""Where memories begin, and what they learn from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.model.engines.streaming_t2v.cam import CamMergers
from core.model.networks.layouts import frames_to_video
from core.model.training.recipe import SpritesNetworks, load_recipe
from core.model.training.sprites_run import SpritesTrainingRun
from core.model.training.stages.history import CONDITIONING_FRAMES, HISTORY_FRAMES
from core.model.training.stages.memory import ALPHA_RATE, APM_RATE, PICTURE_RATE, Dropouts, MemoryTask, matching_frames

CHANNELS = 16


@pytest.fixture
def run(tmp_path: Path) -> SpritesTrainingRun:
    """A run at toy sizes without checkpoints."""
    recipe = load_recipe("sprites").smoke()
    assert isinstance(recipe.networks, SpritesNetworks)
    return Untrained(replace(recipe, networks=replace(recipe.networks, unet_channels=(16, 16, 16, 16))), tmp_path)


class Untrained(SpritesTrainingRun):
    """Takes untrained networks where a stage would need trained ones."""

    def load(self, stage: str, modules: dict[str, torch.nn.Module]) -> None:
        pass


def test_mergers_begin_by_reading_the_frame_that_is_most_like_their_own() -> None:
    torch.manual_seed(0)
    config = {"block_out_channels": (16,) * 4, "layers_per_block": 2, "attention_head_dim": 16, "norm_num_groups": 8}
    merger = cast(Any, matching_frames(CamMergers.for_unet(config)).mid)
    merger.proj_out.weight.data.copy_(torch.eye(CHANNELS))
    frames = 3.0 * torch.randn(8, CHANNELS, 1, 1)
    order = torch.randperm(8)
    read = merger(frames, 8, frames[order], 8) - frames
    # Attention is a weighted mean, so nearly all of its weight must be on the same frame.
    torch.testing.assert_close(frames_to_video(read, 8), frames_to_video(frames, 8), atol=0.6, rtol=0.1)


def test_mergers_leave_the_base_alone_at_the_beginning(run: SpritesTrainingRun) -> None:
    merger = cast(Any, run.untrained_memory(run.unet).mergers.mid)
    base = torch.randn(16, CHANNELS, 1, 1)
    assert torch.equal(merger(base, 16, torch.randn(8, CHANNELS, 1, 1), 8), base)


def test_what_is_new_learns_faster_than_cam_and_its_picture_encoder_slower(run: SpritesTrainingRun) -> None:
    memory, rates = (task := cast(MemoryTask, run.task("apm"))).memory, dict(task.rate_factors)

    def taken(parameters: Iterable[nn.Parameter]) -> set[float]:
        return {rates.pop(parameter) for parameter in parameters}

    alphas = [parameter for name, parameter in memory.mixers.named_parameters() if name.endswith("alpha")]
    assert taken(alphas) == {ALPHA_RATE}
    others = [parameter for name, parameter in memory.mixers.named_parameters() if not name.endswith("alpha")]
    assert taken([*others, *memory.expander.parameters()]) == {APM_RATE}
    assert taken(memory.cam.picture_encoder.parameters()) == {PICTURE_RATE}
    assert not rates


def memory_task(run: SpritesTrainingRun, **dropouts: float) -> MemoryTask:
    task = cast(MemoryTask, run.task("apm"))
    task.dropouts = Dropouts(**dropouts)
    return task


@pytest.mark.parametrize(("conditioning_frames", "start"), [(CONDITIONING_FRAMES, 8), (1, 1)])
def test_a_generated_past_is_what_the_networks_continue_the_frames_before_with(
    run: SpritesTrainingRun, monkeypatch: pytest.MonkeyPatch, conditioning_frames: int, start: int
) -> None:
    """A network that knows the true clean frames reproduces them: so the past is the end of the window before."""
    task = memory_task(run)
    task.conditioning_frames = conditioning_frames
    latents_btchw = torch.randn(2, 32, 4, 8, 8)
    given = list[Tensor]()

    def noting(latents_btchw: Tensor, *_: Any) -> Tensor:
        given.append(latents_btchw)
        return torch.zeros(2, conditioning_frames, 3, 64, 64)

    monkeypatch.setattr(task, "history_pictures", noting)
    true_bcthw = latents_btchw[:, start : start + 16].transpose(1, 2) * task.scale
    alphas = task.alphas_cumprod_T

    def knows(noisy_bcthw: Tensor, timestep: Tensor, *_: Any) -> Tensor:
        a, s = alphas[timestep].sqrt(), (1 - alphas[timestep]).sqrt()
        return (a * noisy_bcthw - true_bcthw) / s  # v = (a z - x) / s

    monkeypatch.setattr(task, "predict", knows)
    past = task.generated_past(latents_btchw, torch.zeros(2, 32, 64), None, torch.Generator().manual_seed(0))
    expected = latents_btchw[:, HISTORY_FRAMES : HISTORY_FRAMES + conditioning_frames]
    torch.testing.assert_close(past, expected, atol=1e-3, rtol=1e-3)
    assert len(given) == 1
    assert torch.equal(given[0], latents_btchw[:, start : start + conditioning_frames])


def test_pictures_of_the_past_are_generated_for_their_share_of_windows(
    run: SpritesTrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def nothing(latents_btchw: Tensor, *_: Any) -> Tensor:
        asked.append(len(latents_btchw))
        return torch.zeros_like(latents_btchw[:, :CONDITIONING_FRAMES])

    for share, expected in ((0.0, 0), (1.0, 3 * 2)):
        asked.clear()
        task = memory_task(run, generated_past=share)
        monkeypatch.setattr(task, "generated_past", nothing)
        for step in range(3):
            task.loss(step)
        assert sum(asked) == expected


def test_no_gradient_flows_through_a_generated_past(run: SpritesTrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks that generate it are trained, so its graph would be that of all its steps."""
    task = memory_task(run, generated_past=1.0)
    generated, pasts = task.generated_past, list[Tensor]()
    with_gradients: list[bool] = []
    predict = task.predict

    def watched(*arguments: Any) -> Tensor:
        prediction = predict(*arguments)
        with_gradients.append(prediction.requires_grad)
        return prediction

    def kept(*arguments: Any) -> Tensor:
        pasts.append(generated(*arguments))
        return pasts[-1]

    monkeypatch.setattr(task, "predict", watched)
    monkeypatch.setattr(task, "generated_past", kept)
    assert task.loss(0).requires_grad
    assert with_gradients == [False] * 4 + [True]
    assert [past.requires_grad for past in pasts] == [False]


def test_a_generated_past_changes_the_loss(run: SpritesTrainingRun) -> None:
    losses: list[float] = []
    for share in (0.0, 1.0):
        task = memory_task(run, generated_past=share)
        for merger in cast("list[Any]", [*task.memory.mergers.skips, task.memory.mergers.mid]):
            torch.nn.init.eye_(merger.proj_out.weight)  # at the beginning a past has no effect
        losses.append(float(task.loss(0).detach()))
    assert losses[0] != losses[1]
    assert all(np.isfinite(losses))
