"""Every frame reads the first one, as diffusers' own processor does it, for any number of guidance parts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero import (
    CrossFrameAttnProcessor2_0,
)
from torch import Tensor

from core.model.networks.cross_frame_attention import attend_to_first_frames, first_frames_of
from tests.helpers.pipelines import WIDTH, unet_2d

FRAMES = 4


@pytest.fixture
def unet() -> Any:
    torch.manual_seed(0)
    return unet_2d().eval().requires_grad_(False)


def theirs(unet: Any, latents: Tensor, texts: Tensor) -> Tensor:
    """The library's processor, with the text repeated for every frame."""
    copy: Any = UNet2DConditionModel.from_config(unet.config)
    copy.load_state_dict(unet.state_dict())
    copy.set_attn_processor(CrossFrameAttnProcessor2_0(batch_size=len(texts)))
    repeated = texts.repeat_interleave(len(latents) // len(texts), dim=0)
    return copy.eval()(latents, 500, encoder_hidden_states=repeated).sample


@torch.inference_mode()
def predict(unet: Any, latents: Tensor, texts: Tensor) -> Tensor:
    kwargs = first_frames_of(len(texts))
    return unet(latents, 500, encoder_hidden_states=texts, cross_attention_kwargs=kwargs).sample


def inputs(num_parts: int, num_frames: int = FRAMES) -> tuple[Tensor, Tensor]:
    return torch.randn(num_parts * num_frames, 4, 8, 8), torch.randn(num_parts, 6, WIDTH)


@pytest.mark.parametrize("num_parts", [1, 2, 3])
def test_equals_the_librarys_processor(unet: Any, num_parts: int) -> None:
    latents, texts = inputs(num_parts)
    expected = theirs(unet, latents, texts)
    attend_to_first_frames(unet)

    torch.testing.assert_close(predict(unet, latents, texts), expected, rtol=0, atol=1e-5)


def test_one_frame_is_ordinary_self_attention(unet: Any) -> None:
    latents, texts = inputs(2, num_frames=1)
    expected = unet(latents, 500, encoder_hidden_states=texts).sample
    attend_to_first_frames(unet)

    torch.testing.assert_close(predict(unet, latents, texts), expected, rtol=0, atol=1e-5)


def test_a_frame_does_not_depend_on_frames_other_than_the_first(unet: Any) -> None:
    attend_to_first_frames(unet)
    latents, texts = inputs(1)
    changed = latents.clone()
    changed[1] += 1

    before, after = predict(unet, latents, texts), predict(unet, changed, texts)

    torch.testing.assert_close(after[[0, 2, 3]], before[[0, 2, 3]], rtol=0, atol=1e-5)
    assert not torch.allclose(after[1], before[1], atol=1e-3)


def test_a_controlnet_has_it_too(unet: Any) -> None:
    controlnet: Any = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 4))
    attend_to_first_frames(controlnet)
    latents, texts = inputs(2)

    residuals, _ = controlnet(
        latents,
        500,
        encoder_hidden_states=texts,
        controlnet_cond=torch.randn(len(latents), 3, 16, 16),
        cross_attention_kwargs=first_frames_of(2),
        return_dict=False,
    )

    assert all(len(residual) == len(latents) for residual in residuals)


def test_calls_of_several_threads_may_have_different_numbers_of_parts(unet: Any) -> None:
    attend_to_first_frames(unet)
    cases = [inputs(1 + index % 3) for index in range(6)]
    expected = [predict(unet, *case) for case in cases]

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(predict, [unet] * len(cases), *zip(*cases, strict=True)))

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_call_has_to_say_its_number_of_parts(unet: Any) -> None:
    attend_to_first_frames(unet)
    latents, texts = inputs(2)

    with pytest.raises(TypeError, match="num_parts"):
        unet(latents, 500, encoder_hidden_states=texts)


def test_parts_of_unequal_length_are_refused(unet: Any) -> None:
    attend_to_first_frames(unet)
    latents, _ = inputs(1, num_frames=5)

    with pytest.raises(ValueError, match="a batch of 5 has not 2 guidance parts"):
        predict(unet, latents, torch.randn(2, 6, WIDTH))
