"""First chunk by the preset's own base UNet, as published."""

from dataclasses import dataclass

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from core.model.engines.streaming_t2v.first_chunk.source import FirstChunkRequest, refuse_image
from core.model.engines.streaming_t2v.sampling import SamplingConfig, base_denoiser, first_chunk_context, sample_latents
from core.model.networks.base_network import BaseNetwork
from core.model.networks.encoders import TextEncoder
from core.model.sampling.guidance import num_halves
from core.model.sampling.vae import decode_frames
from core.service.domain.engine import OnStep


@dataclass(frozen=True)
class BaseFirstChunk:
    """A FirstChunkSource: 16 frames sampled by `config` with a request's steps and guidance."""

    network: BaseNetwork
    encode_texts: TextEncoder
    vae: AutoencoderKL
    config: SamplingConfig
    latent_shape: tuple[int, ...]
    """[1, C, F, H, W]."""

    def __call__(self, request: FirstChunkRequest, on_step: OnStep) -> Tensor:
        """Pictures [16, 3, P, R] in [0, 1]."""
        refuse_image(request)
        texts = [request.negative_prompt, request.prompt][-num_halves(request.guidance_scale) :]
        context = first_chunk_context(self.network, self.encode_texts(texts))
        config = self.config.with_request(request.num_inference_steps, request.guidance_scale)
        denoise = base_denoiser(self.network, context, config)
        device = self.network.weight.device
        latents = sample_latents(denoise, config, self.latent_shape, device, request.generator, on_step)
        return decode_frames(self.vae, latents[0])
