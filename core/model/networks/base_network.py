"""The base UNet without CAM and APM: the network that samples a first chunk.

The published model fine-tuned its base for the windows, so the first chunk needs an untouched copy (`UntouchedBase`).
If the base was frozen during training, the windows' network (`StreamingNetwork`) samples the first chunk, too.

Shapes: B batch, C channels, F frames, H, W latent rows and columns, L text tokens, K image tokens, D text width.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor

from core.model.networks.compilation import Compiler
from core.model.networks.cross_attention import KeysValues, SharedTextLayers
from core.model.networks.unet_halves import as_encoder, decode_half, encode_half


def predict_base(
    unet: UNet3DConditionModel, latents_BCFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor
) -> Tensor:
    """Prediction [B, C, F, H, W] (epsilon or v, as trained). Equals diffusers' own forward up to rounding."""
    encoded = encode_half(as_encoder(unet), latents_BCFHW, timestep, text_states_BLD)
    return decode_half(unet, encoded)


def with_image_tokens(text_states_BLD: Tensor, image_tokens_BKD: Tensor | None) -> Tensor:
    """Text tokens followed by image tokens [B, L+K, D]; without image tokens, the text tokens."""
    return text_states_BLD if image_tokens_BKD is None else torch.cat([text_states_BLD, image_tokens_BKD], dim=1)


@dataclass(frozen=True)
class CrossAttentionCache:
    """Keys and values of every cross-attention layer for one text (and anchor frame): computed once per video."""

    unet: tuple[KeysValues, ...]
    cam: tuple[KeysValues, ...] = ()
    unet_entries: int = 1
    """Entries of `unet` per batch item: 1, or one per frame."""

    def conditional(self) -> "CrossAttentionCache":
        """The conditional half of guidance: entries of the last batch item."""
        return CrossAttentionCache(
            tuple(layer.last(self.unet_entries) for layer in self.unet),
            tuple(layer.last(1) for layer in self.cam),
            self.unet_entries,
        )


class BaseNetwork(Protocol):
    """A UNet whose cross-attention layers can use precomputed keys and values."""

    @property
    def unet(self) -> UNet3DConditionModel:
        """The diffusers UNet."""
        ...

    @property
    def weight(self) -> Tensor:
        """One of the weights; all have its device and dtype."""
        ...

    def predict(self, latents_ACFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor) -> Tensor:
        """Prediction [B, C, F, H, W]; see `predict_base`."""
        ...

    def precompute(self, text_states_BLD: Tensor, image_tokens_BKD: None) -> CrossAttentionCache:
        """Keys and values for text states; a base network takes no image tokens."""
        ...

    def use_cache(self, cache: CrossAttentionCache) -> AbstractContextManager[None]:
        """Within the block, cross-attention layers use these keys and values and ignore the text states."""
        ...


class UntouchedBase:
    """A base UNet with its own weights; frame-shared cross-attention is injected in the constructor."""

    def __init__(self, unet: UNet3DConditionModel) -> None:
        """`unet` must be in evaluation mode."""
        self.unet = unet
        self._text_layers = SharedTextLayers(unet).inject()
        self._predict: Callable[..., Tensor] = predict_base

    def compile(self, compiler: Compiler) -> None:
        """Compile `predict` with `compiler`."""
        self._predict = compiler(predict_base)

    def predict(self, latents_ACFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor) -> Tensor:
        """Prediction [B, C, F, H, W]; see `predict_base`."""
        return self._predict(self.unet, latents_ACFHW, timestep, text_states_BLD)

    @property
    def weight(self) -> Tensor:
        """One of the weights; all have its device and dtype."""
        return self.unet.conv_in.weight

    def precompute(self, text_states_BLD: Tensor, image_tokens_BKD: None) -> CrossAttentionCache:
        """Keys and values for text states."""
        del image_tokens_BKD
        return CrossAttentionCache(self._text_layers.keys_values(text_states_BLD))

    def use_cache(self, cache: CrossAttentionCache) -> AbstractContextManager[None]:
        """Within the block, cross-attention layers use these keys and values and ignore the text states."""
        return self._text_layers.use_cache(cache.unet)
