"""Pictures and clips by the image networks of the sprites world while they train: samples and their figures.

Plain DDIM loops; the engines of the service do the same and more. Clips are made frame by frame from the same noise,
every frame reading the first one, as in Text2Video-Zero.

Shapes: F frames, C latent channels, H, W latent rows and columns, L text tokens, D text width, R pixel rows, columns.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from core.model.networks.cross_frame_attention import attend_to_first_frames, first_frames_of
from core.model.networks.encoders import TextEncoder
from core.model.sampling.edges import canny_edges
from core.model.sampling.vae import decode_frames, encode_frames, scaling_factor, to_pictures, to_uint8
from core.model.training.samples import Row
from core.model.training.sprites import world
from core.model.training.sprites.example_clip import example_clip
from core.model.training.sprites_preset import scheduler_config
from core.model.training.stages.history import WINDOW_FRAMES
from core.service.domain.engine import FramesTHWC

_SEED = 1
_SIDE = 8
"""Rows and columns of latents."""


@dataclass(frozen=True)
class Guidance:
    """Steps and guidance of a sample; `image` weighs the frame that is edited."""

    steps: int = 20
    text: float = 4.0
    image: float = 1.5


Predict = Callable[[Tensor, Tensor], Tensor]
"""(noisy latents [F, C, H, W], timestep) -> guided prediction."""


@dataclass(frozen=True)
class PictureMaker:
    """Makes uint8 frames [F, R, R, 3] with an image UNet."""

    vae: AutoencoderKL
    encode_texts: TextEncoder
    unet: UNet2DConditionModel
    guidance: Guidance = Guidance()

    def pictures(self, prompts: list[str]) -> FramesTHWC:
        """One picture for each prompt."""
        text_bld, none_bld = self.encode_texts(prompts), self.encode_texts([""] * len(prompts))

        def predict(noisy: Tensor, timestep: Tensor) -> Tensor:
            both = torch.cat([none_bld, text_bld])
            without, with_text = cast("Any", self.unet)(torch.cat([noisy] * 2), timestep, both).sample.chunk(2)
            return without + self.guidance.text * (with_text - without)

        return self._made(predict, _noise(len(prompts)))

    def controlled(self, controlnet: ControlNetModel, prompt: str, clip: FramesTHWC) -> FramesTHWC:
        """A clip of the prompt that follows the edges of another."""
        edges = torch.from_numpy(canny_edges(clip)).float().div(255)[:, None].expand(-1, 3, -1, -1).to(self.unet.device)
        text = self.encode_texts(["", prompt])

        def predict(noisy: Tensor, timestep: Tensor) -> Tensor:
            kwargs = {"encoder_hidden_states": text, "cross_attention_kwargs": first_frames_of(2)}
            twice = torch.cat([noisy] * 2)
            down, middle = cast("Any", controlnet)(
                twice, timestep, controlnet_cond=torch.cat([edges] * 2), return_dict=False, **kwargs
            )
            without, with_text = cast("Any", self.unet)(
                twice, timestep, down_block_additional_residuals=down, mid_block_additional_residual=middle, **kwargs
            ).sample.chunk(2)
            return without + self.guidance.text * (with_text - without)

        with first_frames_read(self.unet), first_frames_read(controlnet):
            return self._made(predict, _shared_noise(len(clip)))

    def edited(self, instruction: str, clip: FramesTHWC) -> FramesTHWC:
        """A clip changed as the instruction says."""
        pictures = to_pictures(clip).to(self.unet.device)
        frames = encode_frames(self.vae, pictures).transpose(0, 1) / scaling_factor(self.vae)
        conditions = torch.cat([frames, frames, torch.zeros_like(frames)])
        text = self.encode_texts([instruction, "", ""])

        def predict(noisy: Tensor, timestep: Tensor) -> Tensor:
            inputs = torch.cat([torch.cat([noisy] * 3), conditions], dim=1)
            kwargs = {"encoder_hidden_states": text, "cross_attention_kwargs": first_frames_of(3)}
            full, image, none = cast("Any", self.unet)(inputs, timestep, **kwargs).sample.chunk(3)
            return none + self.guidance.text * (full - image) + self.guidance.image * (image - none)

        with first_frames_read(self.unet):
            return self._made(predict, _shared_noise(len(clip)))

    def _made(self, predict: Predict, noise_fchw: Tensor) -> FramesTHWC:
        latents_fchw = denoised(predict, noise_fchw.to(self.unet.device), self.guidance.steps)
        return to_uint8(decode_frames(self.vae, latents_fchw.transpose(0, 1)))


def denoised(predict: Predict, noise: Tensor, steps: int) -> Tensor:
    """Latents by DDIM from noise [F, C, H, W]."""
    scheduler = cast("Any", DDIMScheduler.from_config({**scheduler_config(), "clip_sample": False}))
    scheduler.set_timesteps(steps)
    latents = noise
    with torch.no_grad():
        for timestep in scheduler.timesteps:
            latents = scheduler.step(predict(latents, timestep), timestep, latents).prev_sample
    return latents


def _noise(count: int) -> Tensor:
    return torch.randn(count, 4, _SIDE, _SIDE, generator=torch.Generator().manual_seed(_SEED))


def _shared_noise(count: int) -> Tensor:
    """The same noise for every frame, as in Text2Video-Zero with control."""
    return _noise(1).expand(count, -1, -1, -1)


@contextmanager
def first_frames_read(network: nn.Module) -> Generator[None]:
    """Within the block every frame reads the first one; afterwards the processors are the ones before."""
    before = dict(cast("Any", network).attn_processors)
    attend_to_first_frames(network)
    try:
        yield
    finally:
        cast("Any", network).set_attn_processor(before)


def picture_rows(maker: PictureMaker) -> list[Row]:
    """Every shape in every colour, in two rows."""
    prompts = [
        f"a {colour} {shape} on a {background} background"
        for shape in world.SHAPES
        for colour, background in zip(world.COLOURS, world.BACKGROUNDS, strict=True)
    ]
    return [Row("prompts", maker.pictures(prompts))]


def controlled_rows(maker: PictureMaker, controlnet: ControlNetModel) -> list[Row]:
    """The example clip, and clips that follow its edges."""
    prompts = ("a red square on a dotted background", "a yellow square on a dotted background")
    made = [Row(prompt, maker.controlled(controlnet, prompt, _clip())) for prompt in prompts]
    return [Row("edges of", _clip()), *made]


def edited_rows(maker: PictureMaker) -> list[Row]:
    """The example clip, and what instructions make of it."""
    instructions = ("make it blue", "turn the square yellow", "leave it as it is")
    return [Row("original", _clip()), *(Row(text, maker.edited(text, _clip())) for text in instructions)]


def _clip() -> FramesTHWC:
    return example_clip(WINDOW_FRAMES)
