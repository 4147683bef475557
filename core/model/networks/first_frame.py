"""Self-attention in which every frame also reads the first frame of its video or window, in UNets trained with it.

Temporal layers look along time at one place, so what moves on loses its surface; this gives it a path. It adds no
weights: Text2Video-Zero's cross-frame attention (arXiv 2303.13439, section 3.3.2), but beside the frame itself instead
of in its place. A UNet says in its config that it was trained so.

Shapes: B batch, F frames, N = B*F (batch-major), Q pixels, C channels, M heads, E head width.
"""

from typing import Any, cast

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor
from torch.nn import functional

from core.model.networks.attention import AttentionLayer, attend, project_out, split_heads
from core.model.networks.kernels import dense

READS_FIRST_FRAME = "reads_first_frame"
"""The key in a UNet's config.json, true or missing."""


def reads_first_frame(unet: UNet3DConditionModel) -> bool:
    """Whether the frames of this UNet also read the first one."""
    return bool(cast(Any, unet.config).get(READS_FIRST_FRAME, False))


def let_read_first_frame(unet: UNet3DConditionModel) -> UNet3DConditionModel:
    """Let all frames read the first one in every spatial self-attention, and say so in the config. Returns `unet`."""
    for name, module in unet.named_modules():
        parts = name.split(".")
        if isinstance(module, Attention) and parts[-1] == "attn1" and "attentions" in parts:
            module.set_processor(cast(Any, FirstFrameReader()))
    unet.register_to_config(**{READS_FIRST_FRAME: True})
    return unet


class FirstFrameReader:
    """Marks a self-attention layer that reads the first frame; `attend_within_frames` computes it."""

    def __call__(self, *_: Any, **__: Any) -> Tensor:
        """Raises TypeError: diffusers' own forward does not say how many frames a video has."""
        raise TypeError("a UNet that reads first frames is run by core.model.networks.unet_halves, not by diffusers")


def attend_within_frames(layer: AttentionLayer, tokens_NQC: Tensor, num_frames: int) -> Tensor:
    """Self-attention of every frame [N, Q, C], which also reads frame 0 of its video where the layer is marked so."""
    if num_frames == 1 or not isinstance(layer.get_processor(), FirstFrameReader):
        return attend(layer, tokens_NQC)
    keys, values = (
        _with_first_frame(split_heads(dense(projection, tokens_NQC), layer.heads), num_frames)
        for projection in (layer.to_k, layer.to_v)
    )
    queries = split_heads(dense(layer.to_q, tokens_NQC), layer.heads)
    attended_NMQE = functional.scaled_dot_product_attention(queries, keys, values)
    return project_out(layer, attended_NMQE.transpose(1, 2).flatten(2))


def _with_first_frame(heads_NMQE: Tensor, num_frames: int) -> Tensor:
    """[N, M, Q, E] -> [N, M, 2Q, E]: each frame's own, then those of the first frame of its video."""
    videos_BFMQE = heads_NMQE.unflatten(0, (-1, num_frames))
    first_BFMQE = videos_BFMQE[:, :1].expand_as(videos_BFMQE)
    return torch.cat([videos_BFMQE, first_BFMQE], dim=3).flatten(0, 1)
