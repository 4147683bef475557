"""One autoregressive window: 16 latents of which the first 8 repeat the past and the last 8 are new.

The past reaches a window only through CAM (the last 8 decoded frames), APM (the anchor frame) and the text: all 16
latents start from noise. Draws follow the published order: initial noise, then one draw per step, frames first, from
one CPU generator per video. Knows nothing of requests, uint8 or files.

Shapes: B guidance batch, C latent channels, F frames, G conditioning frames, H, W latent rows and columns, P, R picture
rows and columns, L text tokens, K image tokens, D text width.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.networks.base_network import BaseNetwork, CrossAttentionCache
from core.model.networks.encoders import ImageEncoder
from core.model.sampling.guidance import guide
from core.model.sampling.noise import draw_frames_first, draw_video
from core.model.sampling.samplers import Denoiser, SamplingPlan, sample
from core.model.sampling.schedules import NoiseSchedule
from core.model.sampling.vae import decode_frames
from core.service.domain.engine import OnStep


@dataclass(frozen=True)
class SamplingConfig:
    """How latents are sampled."""

    plan: SamplingPlan
    schedule: NoiseSchedule
    guidance_scale: float
    guidance_interval: tuple[float, float] | None = None
    """Noise levels, deviations in [0, 1] of the noise in the sample, between which guidance acts. None: everywhere.

    An approximation (arXiv 2404.07724): outside it the unconditional half is not computed.
    """
    deep_feature_steps: int = 1
    """Steps that share one computation of the deep features of a window. Above 1 an approximation."""

    def guides_at(self, timestep: int) -> bool:
        """Whether guidance acts at a timestep."""
        if self.guidance_interval is None:
            return True
        low, high = self.guidance_interval
        return low <= float((1 - self.schedule.signal_at(timestep)) ** 0.5) <= high

    def with_request(self, num_steps: int, guidance_scale: float) -> "SamplingConfig":
        """The same sampler with a request's steps and guidance."""
        return replace(self, plan=replace(self.plan, num_steps=num_steps), guidance_scale=guidance_scale)


@dataclass(frozen=True)
class VideoContext:
    """What no step and no window of a video changes."""

    cache: CrossAttentionCache
    text_states_BLD: Tensor
    """Guidance batch: [unconditional, conditional], or the conditional alone where nothing is guided."""

    @property
    def conditional(self) -> "VideoContext":
        """The conditional half alone."""
        return VideoContext(self.cache.conditional(), self.text_states_BLD[-1:])


def first_chunk_context(network: BaseNetwork, text_states_BLD: Tensor) -> VideoContext:
    """Context of the base UNet: the text alone."""
    states = text_states_BLD.to(network.weight.dtype)
    return VideoContext(network.precompute(states, None), states)


def window_context(
    network: StreamingNetwork, text_states_BLD: Tensor, encode_images: ImageEncoder, anchor_3PR: Tensor
) -> VideoContext:
    """Context of all windows of a video: text and anchor ([3, P, R] in [-1, 1])."""
    states = text_states_BLD.to(network.weight.dtype)
    tokens = anchor_tokens(network, encode_images, anchor_3PR, num_halves=states.shape[0])
    return VideoContext(network.precompute(states, tokens), states)


def anchor_tokens(
    network: StreamingNetwork, encode_images: ImageEncoder, anchor_3PR: Tensor, num_halves: int
) -> Tensor:
    """Image tokens [B, K, D]; the unconditional half reads a mid-grey picture, not zero tokens."""
    pictures = [torch.zeros_like(anchor_3PR), anchor_3PR][-num_halves:]
    embeddings = encode_images(torch.stack(pictures))
    tokens: Tensor = network.expander(embeddings.to(network.weight.dtype))
    return tokens


def sample_latents(
    denoise: Denoiser,
    config: SamplingConfig,
    shape_1CFHW: tuple[int, ...],
    device: torch.device,
    generator: torch.Generator,
    on_step: OnStep,
) -> Tensor:
    """Latents [1, C, F, H, W] of a window or a first chunk, all F frames."""
    return sample(
        config.plan,
        denoise,
        draw_video(generator, shape_1CFHW, device),
        config.schedule,
        lambda: draw_frames_first(generator, shape_1CFHW, device),
        on_step,
    )


def decode_new_frames(vae: AutoencoderKL, latents_1CFHW: Tensor, num_conditioning_frames: int) -> Tensor:
    """Pictures [F-G, 3, P, R] in [0, 1] of a window's new frames; the repeated ones are never decoded."""
    return decode_frames(vae, latents_1CFHW[0, :, num_conditioning_frames:])


def as_conditioning(pictures_F3PR: Tensor) -> Tensor:
    """Pictures in [0, 1] as the networks read them: [-1, 1], without rounding to uint8 in between."""
    return pictures_F3PR * 2.0 - 1.0


Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(latents [A, C, F, H, W], timestep, text states [B, L, D]) -> predictions [B, C, F, H, W]."""


def base_denoiser(network: BaseNetwork, context: VideoContext, config: SamplingConfig) -> Denoiser:
    """Guided prediction of the base UNet."""
    return _guided(network, context, config, network.predict)


def window_denoiser(
    network: StreamingNetwork, context: VideoContext, conditioning_G3PR: Tensor, config: SamplingConfig
) -> Denoiser:
    """Guided prediction for one window.

    `conditioning_G3PR`: the last frames of the past in [-1, 1]; they are embedded here, once.
    """
    embedded = network.cam.embed_pictures(conditioning_G3PR.to(context.text_states_BLD.dtype))
    if config.deep_feature_steps > 1:
        return _guided(network, context, config, DeepCacheStep(network, embedded, config.deep_feature_steps))

    def step(latents_ACFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor) -> Tensor:
        return network.predict_window(latents_ACFHW, timestep, text_states_BLD, embedded)

    return _guided(network, context, config, step)


class DeepCacheStep:
    """A window's step that computes the deep features anew at every n-th call only (DeepCache, arXiv 2312.00858).

    Between, the first resolution alone runs, CAM's part of it included. For one window: it remembers.
    """

    def __init__(self, network: StreamingNetwork, embedded_pictures: Tensor, num_steps: int) -> None:
        """`num_steps`: calls that share one computation of deep features."""
        self._network = network
        self._embedded = embedded_pictures
        self._num_steps = num_steps
        self._calls = 0
        self._deep_NCHW: Tensor | None = None
        self._num_texts = 0

    def __call__(self, latents_ACFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor) -> Tensor:
        """Predictions [B, C, F, H, W]."""
        due = self._calls % self._num_steps == 0
        self._calls += 1
        if self._deep_NCHW is None or due or len(text_states_BLD) != self._num_texts:
            self._num_texts = len(text_states_BLD)
            prediction, deep_NCHW = self._network.predict_window_with_deep(
                latents_ACFHW, timestep, text_states_BLD, self._embedded
            )
            # A copy: a CUDA graph writes its results to the same memory each time.
            self._deep_NCHW = deep_NCHW.clone()
            return prediction
        return self._network.predict_window_from_deep(
            latents_ACFHW, timestep, text_states_BLD, self._embedded, self._deep_NCHW
        )


def _guided(network: BaseNetwork, context: VideoContext, config: SamplingConfig, step: Step) -> Denoiser:
    """`step` for both halves in one call, or for the conditional half where the config guides nothing."""
    conditional = context.conditional

    def denoise(x: Tensor, timestep: int) -> Tensor:
        now = context if config.guides_at(timestep) else conditional
        moment = torch.tensor(timestep, device=x.device)
        with network.use_cache(now.cache):
            predictions = step(x.to(now.text_states_BLD.dtype), moment, now.text_states_BLD)
        return guide(predictions.float(), config.guidance_scale)

    return denoise
