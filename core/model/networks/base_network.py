"""The base UNet by itself, without CAM and APM: all that the first chunk needs of a network.

The published model tuned its base for the windows, so its first chunk comes from an untouched copy; where the base was
kept frozen the windows' own network serves. Both have this form. Knows no sampler and no guidance.

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
    """The base UNet alone: no CAM, no image tokens. Equals diffusers' own forward up to rounding."""
    encoded = encode_half(as_encoder(unet), latents_BCFHW, timestep, text_states_BLD)
    return decode_half(unet, encoded)


def with_image_tokens(text_states_BLD: Tensor, image_tokens_BKD: Tensor | None) -> Tensor:
    """Text then image tokens [B, L+K, D], or the text alone."""
    return text_states_BLD if image_tokens_BKD is None else torch.cat([text_states_BLD, image_tokens_BKD], dim=1)


@dataclass(frozen=True)
class ReadKeysValues:
    """Keys and values of every text-reading layer for one text (and anchor): computed once per video."""

    unet: tuple[KeysValues, ...]
    cam: tuple[KeysValues, ...] = ()

    def last(self) -> "ReadKeysValues":
        """Those of the last text alone: the conditional half."""
        return ReadKeysValues(tuple(layer.last() for layer in self.unet), tuple(layer.last() for layer in self.cam))


class BaseNetwork(Protocol):
    """A UNet whose text-reading layers can hold keys and values. StreamingNetwork is one."""

    @property
    def unet(self) -> UNet3DConditionModel:
        """The network."""
        ...

    @property
    def weight(self) -> Tensor:
        """Any weight: tells device and dtype."""
        ...

    def predict(self, latents_ACFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor) -> Tensor:
        """Prediction [B, C, F, H, W]; see `predict_base`."""
        ...

    def read(self, text_states_BLD: Tensor, image_tokens_BKD: None) -> ReadKeysValues:
        """Keys and values for a text; there are no image tokens."""
        ...

    def hold(self, read: ReadKeysValues) -> AbstractContextManager[None]:
        """Within the block the text-reading layers use these keys and values."""
        ...


class UntouchedBase:
    """A base UNet of its own, its text-reading layers attached at once."""

    def __init__(self, unet: UNet3DConditionModel) -> None:
        """`unet` in evaluation mode."""
        self.unet = unet
        self._text_layers = SharedTextLayers(unet).inject()
        self._predict: Callable[..., Tensor] = predict_base

    def compile(self, compiler: Compiler) -> None:
        """Run `predict` through `compiler`, torch.compile with its options."""
        self._predict = compiler(predict_base)

    def predict(self, latents_ACFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor) -> Tensor:
        """Prediction [B, C, F, H, W]; see `predict_base`."""
        return self._predict(self.unet, latents_ACFHW, timestep, text_states_BLD)

    @property
    def weight(self) -> Tensor:
        """Any weight: tells device and dtype."""
        return self.unet.conv_in.weight

    def read(self, text_states_BLD: Tensor, image_tokens_BKD: None) -> ReadKeysValues:
        """Keys and values for a text."""
        del image_tokens_BKD
        return ReadKeysValues(self._text_layers.keys_values(text_states_BLD))

    def hold(self, read: ReadKeysValues) -> AbstractContextManager[None]:
        """Within the block the text-reading layers use these keys and values."""
        return self._text_layers.hold(read.unet)
