"""What the engine is built from: loaded models and sampling configs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.engines.streaming_t2v.sampling import SamplingConfig
from core.model.networks.base_network import BaseNetwork
from core.model.networks.encoders import ImageEncoder, TextEncoder
from core.service.domain.schema import Profile


@dataclass(frozen=True)
class LoadedModels:
    """Everything with weights, in evaluation mode, on one device."""

    network: StreamingNetwork
    base: BaseNetwork
    """Samples the first chunk: an untouched base UNet, or `network` if its base was kept frozen."""
    vae: AutoencoderKL
    encode_texts: TextEncoder
    encode_images: ImageEncoder


@dataclass(frozen=True)
class Distilled:
    """The parts of a profile that are sampled with an adapter in their weights."""

    windows: bool = False
    first_chunk: bool = False


UNDISTILLED = Distilled()


class ModelLoader(Protocol):
    """Loads a preset's models, the networks once per dtype, those with an adapter beside them."""

    @property
    def device(self) -> torch.device:
        """Device of the models."""
        ...

    def at(self, dtype: torch.dtype, distilled: Distilled = UNDISTILLED) -> LoadedModels:
        """The models with networks of `dtype`, with adapters where `distilled` says so, loaded at the first call.

        Raises errors.PresetError.
        """
        ...


@dataclass(frozen=True)
class ProfileConfig:
    """Sampling configs of a profile. A request's steps and guidance scales replace those in them."""

    windows: SamplingConfig
    first_chunk: SamplingConfig
    dtype: torch.dtype
    """Of the networks."""
    distilled: Distilled = UNDISTILLED


@dataclass(frozen=True)
class EngineConfig:
    """Settings from the preset. `height`, `width` in pixels."""

    height: int
    width: int
    profiles: Mapping[Profile, ProfileConfig]
    fingerprint: str
