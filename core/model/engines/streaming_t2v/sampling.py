"""Sampling of one autoregressive window: 16 latents, of which the first 8 repeat frames and the last 8 are new.

A window depends on the video so far only through CAM (the last 8 decoded frames) and APM (the anchor frame): all 16
latents start from noise. Random draws are in the published order, from one CPU generator per video: initial noise, then
one draw per step, frames first. The base UNet's first chunk is sampled by the same functions.

Shapes: A samples, B texts (2 with guidance, else 1), C latent channels, F frames, G conditioning frames, H, W latent
rows and columns, P, R picture rows and columns, L text tokens, K image tokens, D text width.
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
    """How latents are sampled: sampler, noise schedule, guidance, and approximations."""

    plan: SamplingPlan
    schedule: NoiseSchedule
    guidance_scale: float
    guidance_interval: tuple[float, float] | None = None
    """Noise levels (standard deviation in [0, 1]) between which guidance is applied. None: at every step.

    An approximation (arXiv 2404.07724): outside the interval the unconditional half is not computed.
    """
    deep_feature_steps: int = 1
    """Steps that share one computation of a window's deep features. More than 1 is an approximation."""

    def guides_at(self, timestep: int) -> bool:
        """Whether guidance is applied at a timestep."""
        if self.guidance_interval is None:
            return True
        low, high = self.guidance_interval
        return low <= float((1 - self.schedule.signal_at(timestep)) ** 0.5) <= high

    def with_request(self, num_steps: int, guidance_scale: float) -> "SamplingConfig":
        """The same config with a request's number of steps and guidance scale."""
        return replace(self, plan=replace(self.plan, num_steps=num_steps), guidance_scale=guidance_scale)


@dataclass(frozen=True)
class VideoContext:
    """Text and anchor of a video: the same for all its windows and steps."""

    cache: CrossAttentionCache
    text_states_BLD: Tensor
    """[unconditional, conditional] with guidance, else [conditional]."""

    @property
    def conditional(self) -> "VideoContext":
        """The conditional half."""
        return VideoContext(self.cache.conditional(), self.text_states_BLD[-1:])


def first_chunk_context(network: BaseNetwork, text_states_BLD: Tensor) -> VideoContext:
    """Context of the base UNet: the text without an anchor."""
    states = text_states_BLD.to(network.weight.dtype)
    return VideoContext(network.precompute(states, None), states)


def window_context(
    network: StreamingNetwork, text_states_BLD: Tensor, encode_images: ImageEncoder, anchor_3PR: Tensor
) -> VideoContext:
    """Context of a video's windows: text states and the anchor frame [3, P, R] in [-1, 1]."""
    states = text_states_BLD.to(network.weight.dtype)
    tokens = anchor_tokens(network, encode_images, anchor_3PR, num_halves=states.shape[0])
    return VideoContext(network.precompute(states, tokens), states)


def easing_context(
    network: StreamingNetwork,
    text_states_CLD: Tensor,
    encode_images: ImageEncoder,
    anchor_3PR: Tensor,
    weights_F: Tensor,
) -> VideoContext:
    """Context of a window that goes over to another prompt: each frame has its own mean of the two texts' states.

    `text_states_CLD`: [unconditional, old, new], or [old, new]. `weights_F`: share of the new text in each frame, 0 in
    those that repeat the past.
    """
    states = text_states_CLD.to(network.weight.dtype)
    old_BLD, new_LD = states[:-1], states[-1]
    weights_F11 = weights_F.to(states)[:, None, None]
    eased_FLD = torch.lerp(old_BLD[-1], new_LD, weights_F11)
    frames_BFLD = torch.stack([*(half.expand_as(eased_FLD) for half in old_BLD[:-1]), eased_FLD])
    tokens = anchor_tokens(network, encode_images, anchor_3PR, num_halves=old_BLD.shape[0])
    return VideoContext(network.precompute_frames(frames_BFLD, old_BLD, tokens), old_BLD)


def anchor_tokens(
    network: StreamingNetwork, encode_images: ImageEncoder, anchor_3PR: Tensor, num_halves: int
) -> Tensor:
    """Image tokens [B, K, D] of the anchor frame; the unconditional half uses a mid-grey picture."""
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
    """Pictures [F-G, 3, P, R] in [0, 1] of a window's new frames; repeated frames are not decoded."""
    return decode_frames(vae, latents_1CFHW[0, :, num_conditioning_frames:])


def as_conditioning(pictures_F3PR: Tensor) -> Tensor:
    """Pictures in [0, 1] -> [-1, 1], the range of the networks, not rounded to uint8."""
    return pictures_F3PR * 2.0 - 1.0


PredictStep = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(latents [A, C, F, H, W], timestep, text states [B, L, D]) -> predictions [B, C, F, H, W]."""


def base_denoiser(network: BaseNetwork, context: VideoContext, config: SamplingConfig) -> Denoiser:
    """Guided denoiser of the base UNet, for a first chunk."""
    return _with_guidance(network, context, config, network.predict)


def window_denoiser(
    network: StreamingNetwork, context: VideoContext, conditioning_G3PR: Tensor, config: SamplingConfig
) -> Denoiser:
    """Guided denoiser for one window.

    `conditioning_G3PR`: the last frames before the window, in [-1, 1]; embedded here, once.
    """
    embedded = network.cam.embed_pictures(conditioning_G3PR.to(context.text_states_BLD.dtype))
    if config.deep_feature_steps > 1:
        return _with_guidance(network, context, config, DeepCacheStep(network, embedded, config.deep_feature_steps))

    def step(latents_ACFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor) -> Tensor:
        return network.predict_window(latents_ACFHW, timestep, text_states_BLD, embedded)

    return _with_guidance(network, context, config, step)


class DeepCacheStep:
    """Predicts a window with deep features that are recomputed at every n-th call only (DeepCache, arXiv 2312.00858).

    At other calls only the first resolution of UNet and CAM runs. Holds state: use one per window.
    """

    def __init__(self, network: StreamingNetwork, embedded_pictures: Tensor, num_steps: int) -> None:
        """`num_steps`: calls that share deep features."""
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
            # A CUDA graph reuses its output memory, hence the copy.
            self._deep_NCHW = deep_NCHW.clone()
            return prediction
        return self._network.predict_window_from_deep(
            latents_ACFHW, timestep, text_states_BLD, self._embedded, self._deep_NCHW
        )


def _with_guidance(network: BaseNetwork, context: VideoContext, config: SamplingConfig, step: PredictStep) -> Denoiser:
    """Apply `step` to both halves in one call, or to the conditional half only if guidance is off."""
    conditional = context.conditional

    def denoise(x: Tensor, timestep: int) -> Tensor:
        active = context if config.guides_at(timestep) else conditional
        timestep_tensor = torch.tensor(timestep, device=x.device)
        with network.use_cache(active.cache):
            predictions = step(x.to(active.text_states_BLD.dtype), timestep_tensor, active.text_states_BLD)
        return guide(predictions.float(), config.guidance_scale)

    return denoise
