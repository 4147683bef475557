"""The base of a preset of StreamingT2V, on which methods other than its engine work: last frame, FreeNoise.

Shapes: C latent channels, F frames, H, W latent rows and columns, P, R picture rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.model.cores import usable_cores
from core.model.engines.streaming_t2v.base_first_chunk import BaseFirstChunk
from core.model.engines.streaming_t2v.first_chunk.source import FirstChunkRequest
from core.model.engines.streaming_t2v.loading import profile_configs
from core.model.engines.streaming_t2v.models import LoadedModels
from core.model.engines.streaming_t2v.networks import WeightsFolder, check_sizes
from core.model.engines.streaming_t2v.preset import StreamingPreset
from core.model.engines.streaming_t2v.sampling import (
    SamplingConfig,
    VideoContext,
    base_denoiser,
    first_chunk_context,
)
from core.model.networks.base_network import BaseNetwork
from core.model.presets.fingerprint import fingerprint
from core.model.sampling.device import select_device
from core.model.sampling.guidance import num_halves
from core.model.sampling.noise import seeded_for
from core.model.sampling.samplers import Denoiser
from core.model.sampling.vae import decode_frames, downsampling, to_uint8
from core.service.admission.catalog import PresetFolder
from core.service.domain.engine import FramesTHWC, ignore_step
from core.service.domain.errors import PresetError
from core.service.domain.first_chunk_sources import BASE, SourceChoice
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.schema import Profile

_FIRST_CHUNK_STAGE = "first_chunk"
"""As StreamingT2VEngine seeds the noise of first chunks."""


@dataclass(frozen=True)
class BaseModel:
    """A base with the networks around it, and how first chunks are sampled."""

    preset: StreamingPreset
    models: LoadedModels
    sampling: SamplingConfig
    """Of the profile's first chunk."""
    fingerprint: str

    @property
    def device(self) -> torch.device:
        return self.models.base.weight.device

    def latent_shape(self, num_frames: int) -> tuple[int, int, int, int, int]:
        """[1, C, F, H, W] of so many frames."""
        factor, channels = downsampling(self.models.vae), self.models.base.unet.conv_in.in_channels
        return (1, channels, num_frames, self.preset.height // factor, self.preset.width // factor)

    def denoiser(self, prompt: str, network: BaseNetwork | None = None) -> Denoiser:
        """The guided denoiser of a prompt, of any number of frames. `network`: in place of the base. Raises
        PromptTooLong."""
        network = network or self.models.base
        return base_denoiser(network, self.context(prompt, network, self.sampling), self.sampling)

    def context(self, prompt: str, network: BaseNetwork, sampling: SamplingConfig) -> VideoContext:
        """A prompt as `network` reads it, with what guidance needs beside it. Raises PromptTooLong."""
        texts = [self.preset.negative_prompt, prompt][-num_halves(sampling.guidance_scale) :]
        return first_chunk_context(network, self.models.encode_texts(texts))

    @torch.inference_mode()
    def first_chunk(self, prompt: str, seed: int) -> FramesTHWC:
        """The first chunk that StreamingT2V makes of this prompt and seed. Raises PromptTooLong, NotFinite."""
        shape, sampling = self.latent_shape(CHUNK_FRAMES), self.sampling
        source = BaseFirstChunk(self.models.base, self.models.encode_texts, self.models.vae, sampling, shape)
        request = FirstChunkRequest(
            prompt,
            self.preset.negative_prompt,
            sampling.plan.num_steps,
            sampling.guidance_scale,
            seeded_for(seed, _FIRST_CHUNK_STAGE),
        )
        return to_uint8(source(request, ignore_step))

    def frames_of(self, latents_CFHW: Tensor) -> FramesTHWC:
        """Decoded frames. Raises NotFinite."""
        return to_uint8(decode_frames(self.models.vae, latents_CFHW))


def load_base(folder: PresetFolder, profile: Profile) -> BaseModel:
    """The base of a preset. Raises PresetError, ModelNotInstalled."""
    folder.require_installed()
    preset = folder.preset
    if not isinstance(preset, StreamingPreset):
        raise PresetError(f"{preset.name} has no base of StreamingT2V", fix="name a preset of engine streaming_t2v")
    context, device = folder.engine_context(), select_device(None)
    torch.set_num_threads(context.torch_threads or usable_cores())
    if profile not in preset.profiles:
        raise PresetError(f"{preset.name} has no profile {profile!r}", fix=f"use one of: {', '.join(preset.profiles)}")
    config = profile_configs(preset, device)[profile]
    models = WeightsFolder(context.weights, device, long_work=context.long_work).at(config.dtype, config.distilled)
    check_sizes(context.weights, preset, models)
    line = fingerprint(context.folder, context.weights, device, SourceChoice.parse(BASE), compiled=False)
    return BaseModel(preset, models, config.first_chunk, f"{line}; profile {profile}")
