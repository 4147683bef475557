"""Loads diffusers pipelines and places them on a device. Pipelines are untyped, hence Any."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from core.model.cores import usable_cores
from core.model.networks.pretrained import loading
from core.model.pipelines.preset import PipelinePreset
from core.model.presets.files import FIX
from core.model.sampling.device import select_device
from core.service.domain.engine import LongWork, unannounced
from core.service.domain.errors import PresetError
from core.service.engines.load_context import LoadContext

PresetT = TypeVar("PresetT", bound=PipelinePreset)


@dataclass(frozen=True)
class Placement:
    """Device and dtype of pipelines: half precision on a GPU, as published, float32 on a CPU."""

    device: torch.device
    long_work: LongWork = unannounced
    """A context manager around loading."""
    gpu_dtype: torch.dtype = torch.float16
    shares_gpu: bool = True
    """Whether other networks need the GPU's memory, too."""

    @property
    def offloads(self) -> bool:
        """Whether networks wait in main memory while they are not used."""
        return self.device.type == "cuda" and self.shares_gpu

    @property
    def dtype(self) -> torch.dtype:
        """dtype of all weights of a pipeline."""
        return self.gpu_dtype if self.device.type == "cuda" else torch.float32

    @property
    def variant(self) -> str | None:
        """diffusers' `variant`, for repositories that also hold half-precision files."""
        return "fp16" if self.dtype == torch.float16 else None


def prepare(context: LoadContext[PresetT], device: str | None) -> Placement:
    """Set the number of torch's threads; returns where the networks compute. `device` None: CUDA if there is one."""
    torch.set_num_threads(context.torch_threads or usable_cores())
    return placement_of(context.preset, select_device(device), context.long_work)


def placement_of(preset: PipelinePreset, device: torch.device, long_work: LongWork) -> Placement:
    """Where and in which dtype the networks of a preset compute."""
    return Placement(device, long_work, getattr(torch, preset.gpu_dtype), shares_gpu=preset.offload)


def load(what: str, make: Callable[[], Any], placement: Placement) -> Any:
    """Load a pipeline with `make` and place it. Raises PresetError, naming `what` is loaded.

    On a GPU its networks are offloaded to main memory while unused if `placement` says so.
    """
    with placement.long_work(f"loading {what}"):
        with loading(what):
            pipeline = make()
        if placement.offloads:
            pipeline.enable_model_cpu_offload(device=placement.device)
        else:
            pipeline.to(placement.device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pretrained(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """A network of a class of diffusers or transformers, in evaluation mode, on the CPU.

    Reads local safetensors files only; nothing in a file is called. Raises PresetError.
    """
    with loading(str(folder), FIX):
        network, found = kind.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    missing = sorted(found["missing_keys"])
    if missing:
        raise PresetError(f"the weights in {folder} lack {len(missing)} tensors, such as {missing[0]}", fix=FIX)
    return network.eval().requires_grad_(False)


def load_part(kind: Any, folder: Path, dtype: torch.dtype | None = None, **changed: Any) -> Any:
    """A network (in `dtype`), tokenizer or scheduler from its folder, with `changed` values of its config.

    Nothing is downloaded. Raises PresetError.
    """
    if not folder.is_dir():
        raise PresetError(f"{folder} is missing", fix=FIX)
    if dtype is not None:
        return pretrained(kind, folder, dtype)
    with loading(str(folder), FIX):
        return kind.from_pretrained(folder, local_files_only=True, **changed)


def load_folder(what: str, kind: Any, folder: Path, placement: Placement) -> Any:
    """Load a pipeline of class `kind` from a folder in diffusers' layout: local files, safetensors only.

    Raises PresetError.
    """

    def make() -> Any:
        with loading(what, f"restore the files in {folder}"):
            return kind.from_pretrained(
                str(folder),
                dtype=placement.dtype,
                variant=variant_in(folder, placement),
                use_safetensors=True,
                local_files_only=True,
            )

    return load(what, make, placement)


def variant_in(folder: Path, placement: Placement) -> str | None:
    """diffusers' `variant` for a folder's files: "fp16" if a part has such, and they are wanted or it has no others."""
    names = [[file.name for file in part.glob("*.safetensors")] for part in folder.iterdir()]
    parts = [(any(".fp16" in name for name in part), any(".fp16" not in name for name in part)) for part in names]
    wanted = placement.variant is not None
    return "fp16" if any(has_halves and (wanted or not has_full) for has_halves, has_full in parts) else None
