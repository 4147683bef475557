"""FreeNoise (Qiu et al. 2024, arXiv 2310.15169) on the base UNet of StreamingT2V: all frames are denoised together.

Two changes and no training: the initial noise of later frames is that of the first window in another order, so that
windows far apart show the same scene; and temporal attention acts in overlapping windows of 16 frames, the length of
training. Memory grows with the video's length, as published.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor

from core.model.evaluation.methods.base_model import BaseModel
from core.model.evaluation.methods.free_noise_windows import Windows, rescheduled_noise, windowed_attention
from core.model.evaluation.methods.method import Method, MethodFacts, MethodRequest
from core.model.networks.base_network import BaseNetwork, CrossAttentionCache
from core.model.sampling.noise import draw_frames_first, draw_video, seeded_for
from core.model.sampling.samplers import sample
from core.service.domain.engine import FramesTHWC, ignore_step
from core.service.domain.frame_plan import CHUNK_FRAMES

FREE_NOISE = MethodFacts(
    *("free_noise", "FreeNoise", "no", "arXiv 2310.15169, without training, on the preset's base"), training="none"
)


class FreeNoise(Method):
    """Frames of the whole video at once, decoded chunk by chunk."""

    def __init__(self, base: BaseModel, windows: Windows | None = None) -> None:
        """`windows` None: those of the paper, 16 frames every 4."""
        self._base = base
        self._windows = windows or Windows()
        constants = f"windows of {self._windows.size} every {self._windows.stride}"
        super().__init__(FREE_NOISE, base.preset.fps, f"{constants}; {base.fingerprint}")

    @torch.inference_mode()
    def _latents(self, request: MethodRequest) -> Tensor:
        """Latents [1, C, F, H, W] of the video's frames; those that only fill the last window are left out."""
        base, windows = self._base, self._windows
        generator = seeded_for(request.seed, FREE_NOISE.name)
        num_frames = windows.covered(request.num_frames)
        first = draw_video(generator, base.latent_shape(windows.size), base.device)
        shape = base.latent_shape(num_frames)
        latents = sample(
            base.sampling.plan,
            base.denoiser(request.prompt, _WindowedBase(base.models.base, windows)),
            rescheduled_noise(first, num_frames, windows, generator),
            base.sampling.schedule,
            lambda: draw_frames_first(generator, shape, base.device),
            ignore_step,
        )
        return latents[:, :, : request.num_frames]

    def _made(self, request: MethodRequest) -> Iterator[FramesTHWC]:
        for latents_1CFHW in self._latents(request).split(CHUNK_FRAMES, dim=2):
            yield self._decoded(latents_1CFHW[0])

    @torch.inference_mode()
    def _decoded(self, latents_CFHW: Tensor) -> FramesTHWC:
        return self._base.frames_of(latents_CFHW)


class _WindowedBase:
    """A base network whose temporal attention acts in windows; it runs diffusers' own forward."""

    def __init__(self, network: BaseNetwork, windows: Windows) -> None:
        self._network = network
        self._windows = windows

    @property
    def unet(self) -> UNet3DConditionModel:
        return self._network.unet

    @property
    def weight(self) -> Tensor:
        return self._network.weight

    def precompute(self, text_states_BLD: Tensor, image_tokens_BKD: None) -> CrossAttentionCache:
        return self._network.precompute(text_states_BLD, image_tokens_BKD)

    def use_cache(self, cache: CrossAttentionCache) -> AbstractContextManager[None]:
        return self._network.use_cache(cache)

    def predict(self, latents_ACFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor) -> Tensor:
        """Prediction [B, C, F, H, W] for one sample and B texts."""
        latents_BCFHW = latents_ACFHW.expand(len(text_states_BLD), -1, -1, -1, -1)
        with windowed_attention(self.unet, self._windows):
            predicted: Tensor = self.unet(latents_BCFHW, timestep, text_states_BLD, return_dict=False)[0]
        return predicted
