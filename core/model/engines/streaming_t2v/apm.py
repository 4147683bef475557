"""APM, the appearance preservation module: long-term memory of StreamingT2V (arXiv 2403.14773, section 4.2).

One anchor frame of the first chunk is encoded to image tokens, which every cross-attention layer of the UNet mixes into
its text tokens.

Shapes: B batch, L text tokens, K image tokens, D text width, I image embedding width, P, R picture rows and columns.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from core.model.networks.cross_attention import SharedTextLayers, spatial_cross_attentions


class TokenExpander(nn.Module):
    """Expands a pooled image embedding to image tokens of the text's width."""

    def __init__(self, embedding_width: int, inner_width: int, num_tokens: int, token_width: int) -> None:
        """The released model: 1024 -> 1280 -> 16 tokens of 1024."""
        super().__init__()
        self.num_tokens = num_tokens
        self.context_embedding = nn.Sequential(
            nn.Linear(embedding_width, inner_width), nn.SiLU(), nn.Linear(inner_width, num_tokens * token_width)
        )

    def forward(self, embeddings_BI: Tensor) -> Tensor:
        """Image embeddings [B, I], not normalised -> image tokens [B, K, D]."""
        expanded: Tensor = self.context_embedding(embeddings_BI)
        return expanded.unflatten(-1, (self.num_tokens, -1))


class ApmMixer(nn.Module):
    """Mixes image tokens into text tokens: text + silu(alpha) * mix(text, image).

    Initialised as the identity (alpha 0). Text without image tokens is returned unchanged.
    """

    def __init__(self, num_text_tokens: int, num_image_tokens: int, width: int) -> None:
        """The mix is a convolution along the feature axis, with tokens as channels, and a layer norm."""
        super().__init__()
        self.num_text_tokens = num_text_tokens
        self.alpha = nn.Parameter(torch.zeros(()))
        self.conv = nn.Conv1d(num_text_tokens + num_image_tokens, num_text_tokens, 3, padding=1)
        self.conv_ln = nn.LayerNorm(width)

    def forward(self, tokens_BSD: Tensor) -> Tensor:
        """Text then image tokens [B, L+K, D] -> [B, L, D]; [B, L, D] -> the same."""
        if tokens_BSD.shape[1] == self.num_text_tokens:
            return tokens_BSD
        text_BLD = tokens_BSD[:, : self.num_text_tokens]
        return text_BLD + functional.silu(self.alpha) * self.conv_ln(self.conv(tokens_BSD))


class ApmMixers(nn.Module):
    """One mixer per cross-attention layer of a UNet (16 at four levels), in forward order."""

    def __init__(
        self, layer_names: Iterable[str], num_text_tokens: int, num_image_tokens: int, token_width: int
    ) -> None:
        """`layer_names`: keys of `spatial_cross_attentions`."""
        super().__init__()
        self.layer_names = tuple(layer_names)
        self.mixers = nn.ModuleList(ApmMixer(num_text_tokens, num_image_tokens, token_width) for _ in self.layer_names)

    @classmethod
    def for_unet(cls, unet: UNet3DConditionModel, num_text_tokens: int, num_image_tokens: int = 16) -> "ApmMixers":
        """Mixers for every cross-attention layer of `unet`."""
        config: Mapping[str, Any] = unet.config
        return cls(spatial_cross_attentions(unet), num_text_tokens, num_image_tokens, config["cross_attention_dim"])

    def layers_of(self, unet: UNet3DConditionModel) -> SharedTextLayers:
        """`unet`'s cross-attention layers with these mixers, not yet injected."""
        return SharedTextLayers(unet, dict(zip(self.layer_names, self.mixers, strict=True)))
