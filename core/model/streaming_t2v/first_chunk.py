"""The first 16 frames: the base UNet alone, CAM and APM left out.

Knows nothing of windows, pixels or files. The caller brings the generator; it is not the windows' one.

Shapes: B guidance batch, C latent channels, F frames, H, W latent rows and columns.
"""

import torch
from torch import Tensor

from core.model.sampling.guidance import guided
from core.model.sampling.noise import draw_frames_first, draw_video
from core.model.sampling.samplers import Denoiser, OnStep, sample
from core.model.streaming_t2v.base_network import BaseNetwork
from core.model.streaming_t2v.chunk_loop import Recipe, VideoContext
from core.model.streaming_t2v.network import predict_base


def base_denoiser(network: BaseNetwork, context: VideoContext, guidance_scale: float) -> Denoiser:
    """Guided prediction of the base UNet; call it while `context.read` is held."""
    states_BLD = context.text_states_BLD

    def predict(batch_BCFHW: Tensor, timestep: int) -> Tensor:
        moment = torch.tensor(timestep, device=states_BLD.device)
        return predict_base(network.unet, batch_BCFHW.to(states_BLD.dtype), moment, states_BLD).float()

    return guided(predict, guidance_scale)


def sample_first_chunk(
    network: BaseNetwork,
    context: VideoContext,
    recipe: Recipe,
    shape_1CFHW: tuple[int, ...],
    generator: torch.Generator,
    on_step: OnStep,
) -> Tensor:
    """Latents [1, C, F, H, W] of the first chunk. `context` must have been made without an anchor."""
    device = context.text_states_BLD.device
    noise = draw_video(generator, shape_1CFHW, device)
    with network.hold(context.read):
        return sample(
            recipe.plan,
            base_denoiser(network, context, recipe.guidance_scale),
            noise,
            recipe.schedule,
            lambda: draw_frames_first(generator, shape_1CFHW, device),
            on_step,
        )
