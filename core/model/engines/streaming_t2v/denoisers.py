"""Networks as denoisers: one guided prediction per call, for windows and for the first chunk.

Both halves of guidance start from one sample. Two approximations can be asked for by a config: guidance in a part of
the schedule only, and deep features kept for some steps. Knows no sampler, no draws and no pixels.

Shapes: A samples, B texts (2 where guided, else 1), C latent channels, F frames, G conditioning frames, H, W latent
rows and columns, P, R picture rows and columns, N = B*F frames, L text tokens, D text width.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.engines.streaming_t2v.window import SamplingConfig, VideoContext
from core.model.networks.base_network import BaseNetwork
from core.model.sampling.guidance import guide
from core.model.sampling.samplers import Denoiser

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
        return _guided(network, context, config, ReusingStep(network, embedded, config.deep_feature_steps))

    def step(latents_ACFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor) -> Tensor:
        return network.predict_window(latents_ACFHW, timestep, text_states_BLD, embedded)

    return _guided(network, context, config, step)


class ReusingStep:
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
            prediction, deep_NCHW = self._network.predict_window_and_keep(
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
        with network.hold(now.read):
            predictions = step(x.to(now.text_states_BLD.dtype), moment, now.text_states_BLD)
        return guide(predictions.float(), config.guidance_scale)

    return denoise
