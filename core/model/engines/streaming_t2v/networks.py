"""Builds the networks of a weights folder from their configs and loads them onto a device.

Knows which folder holds which network; file formats are in core.model.presets.files.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import nn

from core.model.engines.streaming_t2v.apm import ApmMixers, TokenExpander
from core.model.engines.streaming_t2v.cam import CamFeatureExtractor, CamMergers
from core.model.engines.streaming_t2v.device_cache import DeviceCache, Memory, memory_of
from core.model.engines.streaming_t2v.models import UNDISTILLED, Distilled, LoadedModels
from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.engines.streaming_t2v.preset import (
    ADAPTERS_FOLDER,
    FIRST_CHUNK_ADAPTER,
    WINDOWS_ADAPTER,
    StreamingPreset,
)
from core.model.networks.adapters import merge
from core.model.networks.base_network import BaseNetwork, UntouchedBase
from core.model.networks.builders import build_image_encoder, build_text_encoder, build_unet, build_vae
from core.model.networks.compilation import Compiler, compile_with_cuda_graph, with_eager_fallback
from core.model.networks.encoders import ClipImageEncoder, ClipTextEncoder
from core.model.networks.kernels import lay_out_for_gpu
from core.model.presets.files import FIX, load_module, num_weights, read_file, read_tokenizer
from core.service.domain.engine import LongWork, unannounced
from core.service.domain.errors import PresetError

UNTOUCHED_BASE = "first_chunk_unet"
BESIDE_UNET = ("cam", "conditioning")
"""Folders of what the windows' network has beside its UNet."""
NetworkT = TypeVar("NetworkT", StreamingNetwork, UntouchedBase)


class _Networks:
    """The networks of one dtype, which move together; each is loaded when it is first needed.

    With and without adapters they share the windows' UNet; what an adapter changes exists once more.
    """

    def __init__(
        self, load: "_Load", with_base: bool, together: Callable[[StreamingNetwork, BaseNetwork], LoadedModels]
    ) -> None:
        """`together`: networks of windows and first chunk with the models that all dtypes share."""
        self._load = load
        self._together = together
        self._with_base = with_base
        self._windows: dict[bool, StreamingNetwork] = {}
        self._bases: dict[bool, UntouchedBase] = {}
        self._held: dict[Distilled, LoadedModels] = {}

    def holds(self, distilled: Distilled) -> bool:
        """Whether `of` returns without loading."""
        return distilled in self._held

    def of(self, distilled: Distilled) -> LoadedModels:
        """All models. Raises PresetError."""
        if distilled not in self._held:
            windows = self._windows_of(distilled.windows)
            self._held[distilled] = self._together(windows, self._base_of(distilled.first_chunk) or windows)
        return self._held[distilled]

    def missing_bytes(self, distilled: Distilled) -> int:
        """An estimate of the memory for what `of` loads; 0 if it loads nothing."""
        folders: list[str] = []
        if distilled.windows not in self._windows:
            folders += BESIDE_UNET if self._windows else ("unet", *BESIDE_UNET)
        if self._has_base(distilled.first_chunk) and distilled.first_chunk not in self._bases:
            folders.append(self._load.base_folder)
        return self._load.num_bytes(folders)

    def _windows_of(self, distilled: bool) -> StreamingNetwork:
        if distilled not in self._windows:
            held = next(iter(self._windows.values()), None)
            self._windows[distilled] = self._load.windows(distilled, None if held is None else held.unet)
        return self._windows[distilled]

    def _base_of(self, distilled: bool) -> UntouchedBase | None:
        """The first chunk's own network, if it has one."""
        if not self._has_base(distilled):
            return None
        if distilled not in self._bases:
            self._bases[distilled] = self._load.base(distilled)
        return self._bases[distilled]

    def _has_base(self, distilled: bool) -> bool:
        return self._with_base and (distilled or self._load.has_untouched_base)

    @property
    def num_bytes(self) -> int:
        weights = {id(each): each for part in self._parts() for each in (*part.parameters(), *part.buffers())}
        return sum(tensor.nbytes for tensor in weights.values())

    def move(self, device: torch.device) -> None:
        for part in self._parts():
            part.to(device)

    def _parts(self) -> list[nn.Module]:
        windows = [part for network in self._windows.values() for part in network.parts.values()]
        return [*windows, *(base.unet for base in self._bases.values())]


@dataclass(frozen=True)
class _Load:
    """Reads networks of one dtype from a weights folder."""

    folder: Path
    device: torch.device
    dtype: torch.dtype
    compiler: Compiler | None

    @property
    def has_untouched_base(self) -> bool:
        return (self.folder / UNTOUCHED_BASE).is_dir()

    @property
    def base_folder(self) -> str:
        """Name of the folder that an own UNet for first chunks is read from."""
        return UNTOUCHED_BASE if self.has_untouched_base else "unet"

    def num_bytes(self, folders: Iterable[str]) -> int:
        """Memory for the networks of these folders."""
        return self.dtype.itemsize * sum(num_weights(self.folder / name) for name in folders)

    def windows(self, distilled: bool, unet: UNet3DConditionModel | None) -> StreamingNetwork:
        """The windows' network on `unet`, if that is loaded already. Raises PresetError."""
        network = load_network(self.folder, self.device, self.dtype, unet)
        if distilled:
            adapted = {name: part for name, part in network.parts.items() if name != "unet"}
            merge_file(nn.ModuleDict(adapted), self.folder / ADAPTERS_FOLDER / WINDOWS_ADAPTER, self.device)
        return self._prepared(network, network.parts.values())

    def base(self, distilled: bool) -> UntouchedBase:
        """An own UNet for first chunks. Raises PresetError."""
        unet = load_module(self.folder / self.base_folder, build_unet, self.device, self.dtype)
        if distilled:
            merge_file(unet, self.folder / ADAPTERS_FOLDER / FIRST_CHUNK_ADAPTER, self.device)
        return self._prepared(UntouchedBase(unet), [unet])

    def _prepared(self, network: NetworkT, parts: Iterable[nn.Module]) -> NetworkT:
        if self.compiler is not None:
            network.compile(self.compiler)
        if self.device.type == "cuda":
            for part in parts:
                lay_out_for_gpu(part)
        return network


def merge_file(network: nn.Module, file: Path, device: torch.device) -> None:
    """Add the adapter in `file` to the weights of `network`, in place. Raises PresetError naming the file."""
    factors = read_file(file, device)
    try:
        merge(network, factors)
    except ValueError as error:
        raise PresetError(f"{file} does not fit the networks: {error}", fix=FIX) from error


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
        self._networks = DeviceCache(device, self._of_dtype, memory or memory_of(device))
        self._vae = load_module(folder / "vae", build_vae, device)
        self._read_texts = ClipTextEncoder(
            read_tokenizer(folder), load_module(folder / "text_encoder", build_text_encoder, device)
        )
        self._read_pictures = ClipImageEncoder(load_module(folder / "image_encoder", build_image_encoder, device))

    def at(self, dtype: torch.dtype, distilled: Distilled = UNDISTILLED) -> LoadedModels:
        """All models with networks of `dtype`, with adapters where `distilled` says so. Raises PresetError."""
        held = self._networks.on_device(dtype)
        if held is not None and held.holds(distilled):
            return held.of(distilled)
        # Weights created in inference mode cannot be moved later.
        with self._long_work(f"loading networks in {dtype}"), torch.inference_mode(False):
            return self._networks.at(dtype, lambda networks: networks.missing_bytes(distilled)).of(distilled)

    def _together(self, network: StreamingNetwork, base: BaseNetwork) -> LoadedModels:
        return LoadedModels(network, base, self._vae, self._read_texts, self._read_pictures)

    def _of_dtype(self, dtype: torch.dtype) -> _Networks:
        compiler = with_eager_fallback(compile_with_cuda_graph, self._long_work) if self._compiled else None
        return _Networks(_Load(self._folder, self.device, dtype, compiler), self._with_base, self._together)


def load_network(
    folder: Path,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    unet: UNet3DConditionModel | None = None,
) -> StreamingNetwork:
    """UNet (unless given), CAM and conditioning parts of a weights folder. Raises PresetError."""
    unet = unet or load_module(folder / "unet", build_unet, device, dtype)
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
