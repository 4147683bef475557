"""Builds the networks of a weights folder from their configs and loads them onto a device.

Knows which folder holds which network; file formats are in core.model.presets.files.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import nn

from core.model.engines.streaming_t2v.apm import ApmMixers, TokenExpander
from core.model.engines.streaming_t2v.cam import CamFeatureExtractor, CamMergers
from core.model.engines.streaming_t2v.device_cache import DeviceCache, Memory, memory_of
from core.model.engines.streaming_t2v.models import LoadedModels
from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.engines.streaming_t2v.preset import StreamingPreset
from core.model.networks.base_network import UntouchedBase
from core.model.networks.builders import build_image_encoder, build_text_encoder, build_unet, build_vae
from core.model.networks.compilation import compile_with_cuda_graph, with_eager_fallback
from core.model.networks.encoders import ClipImageEncoder, ClipTextEncoder
from core.model.networks.kernels import lay_out_for_gpu
from core.model.presets.files import FIX, load_module, num_weights, read_tokenizer
from core.service.domain.engine import LongWork, unannounced
from core.service.domain.errors import PresetError

NETWORKS = ("unet", "cam", "conditioning", "first_chunk_unet")
"""Folders whose weights are loaded once per dtype."""


@dataclass(frozen=True)
class _Loaded:
    """Models whose networks move together. The VAE and the encoders, shared by all dtypes, do not move."""

    models: LoadedModels

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for part in self._parts() for tensor in (*part.parameters(), *part.buffers()))

    def move(self, device: torch.device) -> None:
        for part in self._parts():
            part.to(device)

    def _parts(self) -> list[nn.Module]:
        network, base = self.models.network, self.models.base
        return [*network.parts.values(), *([] if base is network else [base.unet])]


class WeightsFolder:
    """A ModelLoader for one folder and one device."""

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        *,
        with_base: bool = True,
        compiled: bool = False,
        long_work: LongWork = unannounced,
        memory: Memory | None = None,
    ) -> None:
        """Loads the VAE and the encoders, which stay in float32. Raises PresetError.

        `with_base` False: the untouched base UNet is not loaded, because another source makes first chunks. `compiled`:
        steps are compiled at their first use, for CUDA. `long_work`: a context manager around loading and compiling.
        `memory` decides whether networks of two dtypes fit on the device; None: measured on this machine.
        """
        self._folder = folder
        self.device = device
        self._with_base = with_base
        self._compiled = compiled
        self._long_work = long_work
        self._networks = DeviceCache(device, self._load, self._expected_bytes, memory or memory_of(device))
        self._vae = load_module(folder / "vae", build_vae, device)
        self._read_texts = ClipTextEncoder(
            read_tokenizer(folder), load_module(folder / "text_encoder", build_text_encoder, device)
        )
        self._read_pictures = ClipImageEncoder(load_module(folder / "image_encoder", build_image_encoder, device))

    def at(self, dtype: torch.dtype) -> LoadedModels:
        """All models with networks of `dtype`. Raises PresetError."""
        if self._networks.is_on_device(dtype):
            return self._networks.at(dtype).models
        # Weights created in inference mode cannot be moved later.
        with self._long_work(f"loading networks in {dtype}"), torch.inference_mode(False):
            return self._networks.at(dtype).models

    def _expected_bytes(self, dtype: torch.dtype) -> int:
        return dtype.itemsize * sum(num_weights(self._folder / name) for name in NETWORKS)

    def _load(self, dtype: torch.dtype) -> _Loaded:
        network = load_network(self._folder, self.device, dtype)
        untouched = self._folder / "first_chunk_unet"
        base: StreamingNetwork | UntouchedBase = network
        if self._with_base and untouched.is_dir():
            base = UntouchedBase(load_module(untouched, build_unet, self.device, dtype))
        if self._compiled:
            for each in {network, base}:
                each.compile(with_eager_fallback(compile_with_cuda_graph, self._long_work))
        if self.device.type == "cuda":
            for part in (*network.parts.values(), base.unet):
                lay_out_for_gpu(part)
        return _Loaded(LoadedModels(network, base, self._vae, self._read_texts, self._read_pictures))


def load_network(
    folder: Path, device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> StreamingNetwork:
    """UNet, CAM and conditioning parts of a weights folder. Raises PresetError."""
    unet = load_module(folder / "unet", build_unet, device, dtype)
    cam = load_module(folder / "cam", lambda config: build_cam(unet, config), device, dtype)
    parts = load_module(folder / "conditioning", lambda config: build_conditioning(unet, config), device, dtype)
    return StreamingNetwork(
        unet,
        cam,
        cast(CamMergers, parts["mergers"]),
        cast(ApmMixers, parts["mixers"]),
        cast(TokenExpander, parts["expander"]),
    )


def build_cam(unet: UNet3DConditionModel, config: dict[str, Any]) -> CamFeatureExtractor:
    """CAM for a UNet, newly initialised. `config`: cam/config.json."""
    return CamFeatureExtractor(
        dict(cast(Any, unet.config)), config["picture_channels"], config["num_conditioning_frames"]
    )


def build_conditioning(unet: UNet3DConditionModel, config: dict[str, Any]) -> nn.ModuleDict:
    """Mergers, mixers and expander for a UNet, newly initialised. `config`: conditioning/config.json."""
    unet_config = dict(cast(Any, unet.config))
    num_tokens = config["num_image_tokens"]
    return nn.ModuleDict(
        {
            "mergers": CamMergers.for_unet(unet_config),
            "mixers": ApmMixers.for_unet(unet, config["num_text_tokens"], num_tokens),
            "expander": TokenExpander(
                config["embedding_width"], config["inner_width"], num_tokens, unet_config["cross_attention_dim"]
            ),
        }
    )


def check_sizes(folder: Path, preset: StreamingPreset, models: LoadedModels) -> None:
    """Raises PresetError if sizes in preset.json do not match the networks."""
    reader = cast(ClipTextEncoder, models.encode_texts)
    network = models.network
    sizes = {
        "max_prompt_tokens": (preset.max_prompt_tokens, reader.max_prompt_tokens),
        "text tokens of the mixers": (cast(Any, network.mixers.mixers[0]).num_text_tokens, reader.num_tokens),
        "height, width": ((preset.height % 8, preset.width % 8), (0, 0)),
    }
    for name, (stated, actual) in sizes.items():
        if stated != actual:
            raise PresetError(f"{folder}: {name} is {stated}, the networks have {actual}", fix=FIX)
