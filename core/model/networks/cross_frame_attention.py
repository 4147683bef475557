"""Attention of Text2Video-Zero: every frame reads the first frame instead of itself (arXiv 2303.13439, section 3.3.2).

For 2D UNets and ControlNets whose batch is guidance parts times frames, part by part. Text is projected once per part.

Shapes: G guidance parts, F frames, N = G*F (part-major), Q pixels, C channels, L text tokens, D text width.
"""

from typing import cast

from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

from core.model.networks.attention import AttentionLayer, project_out, split_heads
from core.model.networks.cross_attention import FrameSharedCrossAttention
from core.model.networks.kernels import dense


def attend_to_first_frames(network: nn.Module) -> None:
    """Let all frames of a guidance part read its first frame, in every self-attention of a UNet or ControlNet.

    Done once after loading, so that threads may share the network. From then on each of its calls needs
    `cross_attention_kwargs=first_frames_of(G)`, and its `encoder_hidden_states` may be [G, L, D] instead of [N, L, D].
    With one frame it is ordinary self-attention. Equals diffusers' CrossFrameAttnProcessor2_0 up to rounding.
    """
    for name, module in network.named_modules():
        if not isinstance(module, Attention):
            continue
        layer, kind = cast(AttentionLayer, module), name.rpartition(".")[2]
        if kind == "attn1":
            layer.set_processor(FirstFrameAttention())
        elif kind == "attn2":
            layer.set_processor(PartSharedCrossAttention())


def first_frames_of(num_parts: int) -> dict[str, int]:
    """`cross_attention_kwargs` of a call whose batch has so many guidance parts: 1, 2 with guidance, 3 for editing."""
    return {"num_parts": num_parts}


class FirstFrameAttention:
    """diffusers attention processor: self-attention with keys and values of the first frame of each guidance part."""

    def __call__(
        self,
        attn: AttentionLayer,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,  # noqa: ARG002 - diffusers passes it; these networks never mask
        *,
        num_parts: int,
    ) -> Tensor:
        """Hidden states [N, Q, C] -> [N, Q, C]. Raises ValueError if N is no multiple of `num_parts`."""
        if encoder_hidden_states is not None:
            raise ValueError("a layer that reads text cannot read the first frame")
        if len(hidden_states) % num_parts:
            raise ValueError(f"a batch of {len(hidden_states)} has not {num_parts} guidance parts of equal length")
        frames_GFQC = hidden_states.unflatten(0, (num_parts, -1))
        first_GQC = frames_GFQC[:, 0]
        attended_GMSE = functional.scaled_dot_product_attention(
            split_heads(dense(attn.to_q, frames_GFQC).flatten(1, 2), attn.heads),
            split_heads(dense(attn.to_k, first_GQC), attn.heads),
            split_heads(dense(attn.to_v, first_GQC), attn.heads),
        )
        return project_out(attn, attended_GMSE.transpose(1, 2).reshape(*hidden_states.shape[:2], -1))


class PartSharedCrossAttention(FrameSharedCrossAttention):
    """diffusers attention processor: all frames of a guidance part share the keys and values of its text."""

    def __call__(
        self,
        attn: AttentionLayer,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        num_parts: int | None = None,  # noqa: ARG002 - diffusers passes it to all layers; here the text's batch says it
    ) -> Tensor:
        """Attend hidden states [N, Q, C] to text states [G, L, D] or [N, L, D] -> [N, Q, C]."""
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask)
