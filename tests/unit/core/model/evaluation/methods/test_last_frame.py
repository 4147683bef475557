"""Last-frame image-to-video: clips begin with the last frame before them, and follow it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from core.model.evaluation.methods import last_frame
from core.model.evaluation.methods.base_model import BaseModel
from core.model.evaluation.methods.last_frame import LastFrame, beginning_with
from core.model.evaluation.methods.method import MethodRequest
from core.model.sampling.noise import seeded
from core.model.sampling.samplers import Denoiser, SamplingPlan, sample, split_prediction
from core.model.sampling.schedules import NoiseSchedule, make_schedule
from core.model.sampling.vae import to_pictures
from core.service.domain.engine import ignore_step
from tests.unit.core.model.evaluation.methods.conftest import SIDE

GIVEN = torch.full((1, 1, 1, 2, 2), 3.0)
SHAPE = (1, 1, 4, 2, 2)


def schedule_of(prediction: Literal["epsilon", "v_prediction"]) -> NoiseSchedule:
    return make_schedule(prediction=prediction, zero_terminal_snr=prediction == "v_prediction", final_alpha_cumprod=1.0)


def test_each_clip_begins_with_the_last_frame_before_it(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    given, encode = list[Tensor](), last_frame.encode_frames

    def noting(vae: object, pictures: Tensor) -> Tensor:
        given.append(pictures)
        return encode(vae, pictures)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(last_frame, "encode_frames", noting)
    first = np.random.default_rng(0).integers(0, 256, (16, SIDE, SIDE, 3), np.uint8)
    video = np.concatenate(list(LastFrame(base).chunks(MethodRequest("a red circle", 1, 47), first)))
    assert [len(each) for each in given] == [1, 1, 1]
    for pictures, last in zip(given, (15, 30, 45), strict=True):
        assert torch.equal(pictures, to_pictures(video[last : last + 1]))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_network_reads_the_given_frame_with_the_step_s_noise_and_the_rest_as_it_is(
    prediction: Literal["epsilon", "v_prediction"],
) -> None:
    schedule, read = schedule_of(prediction), list[Tensor]()
    x, noise = torch.randn(SHAPE, generator=seeded(1)), torch.randn(GIVEN.shape, generator=seeded(2))

    def network(noisy: Tensor, timestep: int) -> Tensor:
        assert timestep == 400
        read.append(noisy.detach())
        return noisy.tanh()

    predicted = beginning_with(GIVEN, noise, network, schedule, weight=0.0)(x, 400)
    signal = schedule.signal_at(400)
    assert torch.allclose(read[0][:, :, :1], signal**0.5 * GIVEN + (1 - signal) ** 0.5 * noise)
    assert torch.equal(read[0][:, :, 1:], x[:, :, 1:])
    assert torch.allclose(predicted, read[0].tanh(), atol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_guidance_moves_other_frames_to_where_the_network_finds_the_given_one(
    prediction: Literal["epsilon", "v_prediction"],
) -> None:
    """The planted network takes every frame for a part of one still picture."""
    schedule = schedule_of(prediction)
    timesteps = (900, 600, 300)

    def still(noisy: Tensor, timestep: int) -> Tensor:
        signal = schedule.signal_at(timestep)
        clean = noisy.mean(dim=2, keepdim=True).expand_as(noisy) * 0.5
        if prediction == "epsilon":
            return (noisy - signal**0.5 * clean) / (1 - signal) ** 0.5
        return (signal**0.5 * noisy - clean) / (1 - signal) ** 0.5

    x, noise = torch.randn(SHAPE, generator=seeded(1)), torch.randn(GIVEN.shape, generator=seeded(2))

    def miss(weight: float) -> float:
        """Mean distance of the other frames' clean predictions from the given frame."""
        denoise = beginning_with(GIVEN, noise, still, schedule, weight)
        cleans = [split_prediction(schedule, x, denoise(x, t), schedule.signal_at(t))[0] for t in timesteps]
        return float(torch.stack([(clean[:, :, 1:] - GIVEN).abs().mean() for clean in cleans]).mean())

    assert miss(4.0) < miss(1.0) < miss(0.0)


def test_a_sampler_can_run_it_without_gradients_of_its_own() -> None:
    schedule = schedule_of("v_prediction")
    noise = torch.randn(SHAPE, generator=seeded(1))
    denoise: Denoiser = beginning_with(GIVEN, noise[:, :, :1], lambda x, _: x.sin(), schedule)
    with torch.no_grad():
        latents = sample(
            SamplingPlan("ddim", 3, spacing="trailing"), denoise, noise, schedule, lambda: noise, ignore_step
        )
    assert latents.isfinite().all()
    assert not latents.requires_grad
