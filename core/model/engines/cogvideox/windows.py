"""Denoises one window by diffusers' pipelines: from text, from an image, from a video, or from the frames before.

Shapes: B batch (1), C latent channels, F latent frames, H, W latent rows and columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from core.model.pipelines.steps import StepReporter
from core.service.domain.engine import FrameHWC, FramesTHWC, OnStep


@dataclass(frozen=True)
class Pipelines:
    """diffusers' pipelines over one set of networks."""

    main: Any
    """CogVideoXPipeline, or CogVideoXImageToVideoPipeline."""
    video: Any = None
    """CogVideoXVideoToVideoPipeline, beside the first."""


@dataclass(frozen=True)
class Sampling:
    """What all windows of a job have, and what reports their steps."""

    texts: tuple[Tensor, Tensor | None]
    """States of the prompt and, if there is guidance, of the negative prompt."""
    height: int
    width: int
    num_inference_steps: int
    guidance_scale: float
    use_dynamic_cfg: bool
    generator: torch.Generator
    on_step: OnStep
    name: str
    """For errors.NotFinite, such as "chunk 3"."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Of every pipeline."""
        prompt, negative = self.texts
        return {
            "prompt_embeds": prompt,
            "negative_prompt_embeds": negative,
            "height": self.height,
            "width": self.width,
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
            "use_dynamic_cfg": self.use_dynamic_cfg,
            "generator": self.generator,
            "output_type": "latent",
        }

    def steps_of(self, strength: float) -> int:
        """Steps that are done at this strength, at least one."""
        return max(1, int(self.num_inference_steps * strength))

    def run(
        self,
        pipeline: Any,
        num_steps: int,
        change_latents: Callable[[int, Tensor], Tensor] | None = None,
        **arguments: Any,
    ) -> Tensor:
        """The latents [1, F, C, H, W] of a pipeline that does so many steps."""
        steps = StepReporter(self.on_step, num_steps, chunk=self.name, stage="window", change_latents=change_latents)
        latents: Tensor = steps.run(pipeline, {**self.arguments, **arguments}).frames
        return latents


def from_text(pipelines: Pipelines, sampling: Sampling, window_frames: int) -> Tensor:
    """The latents of a window of so many frames."""
    return sampling.run(pipelines.main, sampling.num_inference_steps, num_frames=window_frames)


def from_image(pipelines: Pipelines, sampling: Sampling, window_frames: int, picture: FrameHWC) -> Tensor:
    """The latents of a window whose first frame is `picture`."""
    image = Image.fromarray(picture)
    return sampling.run(pipelines.main, sampling.num_inference_steps, num_frames=window_frames, image=image)


def from_video(
    pipelines: Pipelines, sampling: Sampling, frames: FramesTHWC, strength: float, num_held: int = 0
) -> Tensor:
    """The latents of a window of the same frames, repainted (SDEdit). The first `num_held`, 8 n + 1, stay as they are.

    In each step held frames have the noise of that step, so that the others are drawn to fit them.
    """
    pictures = [Image.fromarray(frame) for frame in frames]
    num_steps = sampling.steps_of(strength)
    change = _hold(pipelines.video, sampling, pictures[:num_held], num_steps) if num_held else None
    # Half a step more, so that rounding down gives this number.
    share = min(1.0, (num_steps + 0.5) / sampling.num_inference_steps)
    return sampling.run(pipelines.video, num_steps, change, video=pictures, strength=share)


def _hold(
    pipeline: Any, sampling: Sampling, pictures: list[Image.Image], num_steps: int
) -> Callable[[int, Tensor], Tensor]:
    """Puts the latents of `pictures` in the place of a window's first ones after each step."""
    known_1FCHW = encode(pipeline, pictures, sampling)
    noise = torch.randn(known_1FCHW.shape, generator=sampling.generator).to(known_1FCHW)
    next_step = sampling.num_inference_steps - num_steps + 1

    def hold(step: int, latents_1FCHW: Tensor) -> Tensor:
        timestep = pipeline.scheduler.timesteps[next_step + step : next_step + step + 1]
        held = pipeline.scheduler.add_noise(known_1FCHW, noise, timestep) if len(timestep) else known_1FCHW
        return torch.cat([held, latents_1FCHW[:, held.shape[1] :]], dim=1)

    return hold


def encode(pipeline: Any, pictures: list[Image.Image], sampling: Sampling) -> Tensor:
    """Scaled latents [1, F, C, H, W] of pictures: the mean of the posterior."""
    prompt, _ = sampling.texts
    video_13FPR = pipeline.video_processor.preprocess_video(pictures, height=sampling.height, width=sampling.width)
    posterior = pipeline.vae.encode(video_13FPR.to(prompt.device, prompt.dtype), return_dict=False)[0]
    scaled_1CFHW: Tensor = posterior.mode() * pipeline.vae_scaling_factor_image
    return scaled_1CFHW.transpose(1, 2)


def decode(pipeline: Any, latents_1FCHW: Tensor) -> Tensor:
    """Pictures [F, 3, P, R] in about [-1, 1], float32, and the GPU's memory freed of other networks if it is shared."""
    video_13FPR: Tensor = pipeline.decode_latents(latents_1FCHW)
    pipeline.maybe_free_model_hooks()
    return video_13FPR[0].transpose(0, 1).float()


def use_tiles(vae: Any, height: int, width: int, *, always: bool) -> None:
    """Encode and decode frames of this size in tiles, if `always` or if they are larger than the VAE's own size."""
    larger = height > vae.config.sample_height or width > vae.config.sample_width
    (vae.enable_tiling if always or larger else vae.disable_tiling)()
