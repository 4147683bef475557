"""The files of a preset folder: config.json, safetensors (one file or shards), tokenizer.json.

Knows file formats; knows no network architecture and no sampling.
"""

import json
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor, nn

from core.model.networks.adapters import DOWN, UP, add_difference
from core.service.domain.errors import PresetError

FIX = "restore the preset's files"
Model = TypeVar("Model", bound=nn.Module)


def load_module(
    folder: Path,
    build: Callable[[dict[str, Any]], Model],
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    *,
    rest: Path | None = None,
) -> Model:
    """A model from its folder's config.json and weights, in evaluation mode, on `device` (default: CPU).

    Direct children of the model that have no weight in the folder are loaded from the folder `rest`, and weights with
    factors in the folder are added to those of `rest` (`read_weights`). Memory holds the weights once: the model is
    built on the meta device, and each weight is converted and moved by itself.
    Raises PresetError.
    """
    config = read_json(folder / "config.json")
    try:
        with torch.device("meta"):
            model = build(config)
    except (KeyError, TypeError, ValueError) as error:
        raise PresetError(f"{folder / 'config.json'} does not describe this model: {error!r}", fix=FIX) from error
    device = device or torch.device("cpu")
    weights = read_weights(folder, device, dtype, rest=rest)
    missing = {_part_of(name) for name in model.state_dict()} - {_part_of(name) for name in weights}
    if rest is not None and missing:
        weights |= read_weights(rest, device, dtype, missing)
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise PresetError(f"the weights in {folder} do not fit its config.json: {error}", fix=FIX) from error
    _fill_position_ids(model, device)
    return model.eval().requires_grad_(False)


def _part_of(name: str) -> str:
    """The direct child of a model that a weight of this name belongs to."""
    return name.partition(".")[0]


def read_weights(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    parts: Collection[str] | None = None,
    rest: Path | None = None,
) -> dict[str, Tensor]:
    """Tensors of a folder's safetensors files, of `parts` only; floating-point ones in `dtype`.

    Where `rest` is given, a weight of which the folder holds factors (`<weight>.up`, `<weight>.down`) is that of the
    folder `rest` plus their product. Raises PresetError.
    """
    weights: dict[str, Tensor] = {}
    for file in _weight_files(folder):
        weights |= read_file(file, device, dtype, parts)
    factored = {name.removesuffix(UP) for name in weights if name.endswith(UP)}
    if rest is None or not factored:
        return weights
    others = read_weights(rest, device, dtype, {_part_of(name) for name in factored})
    try:
        return weights | {
            name: add_difference(others[name], weights.pop(name + UP), weights.pop(name + DOWN))
            for name in sorted(factored)
        }
    except (KeyError, RuntimeError) as error:
        raise PresetError(f"the factors in {folder} do not fit the weights in {rest}: {error}", fix=FIX) from error


def read_file(
    file: Path, device: torch.device, dtype: torch.dtype = torch.float32, parts: Collection[str] | None = None
) -> dict[str, Tensor]:
    """As `read_weights`, from one safetensors file. Raises PresetError."""
    if not file.is_file():
        raise PresetError(f"{file} is missing", fix=FIX)
    try:
        with safe_open(file, framework="pt") as content:
            return {
                name: _placed(content.get_tensor(name), device, dtype)
                for name in content.keys()  # noqa: SIM118 - not a dict, has no iterator
                if parts is None or _part_of(name) in parts
            }
    except (OSError, SafetensorError) as error:
        raise PresetError(f"{file} is damaged: {error}", fix=FIX) from error


def num_weights(folder: Path) -> int:
    """Number of parameters in a folder's safetensors files, from their headers; 0 if they cannot be read."""
    try:
        return sum(_num_weights_of(file) for file in _weight_files(folder))
    except (OSError, SafetensorError, PresetError):
        return 0


def _num_weights_of(file: Path) -> int:
    with safe_open(file, framework="pt") as content:
        return sum(math.prod(content.get_slice(name).get_shape()) for name in content.keys())  # noqa: SIM118


def _placed(stored: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A copy in memory of a memory-mapped tensor: its file may be replaced while the model runs."""
    return stored.to(device, dtype if stored.is_floating_point() else stored.dtype, copy=True)


def _weight_files(folder: Path) -> list[Path]:
    """The shards in the folder's index, or all safetensors files if there is no index."""
    index = next(iter(sorted(folder.glob("*.safetensors.index.json"))), None)
    if index is None:
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise PresetError(f"{folder} holds no .safetensors file", fix=FIX)
        return files
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict):
        raise PresetError(f"{index} names no files", fix=FIX)
    files = sorted({folder / str(name) for name in cast("dict[str, Any]", names).values()})
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise PresetError(f"{folder} lacks {', '.join(missing)}, which {index.name} names", fix=FIX)
    return files


def _fill_position_ids(model: nn.Module, device: torch.device) -> None:
    """Fill CLIP's position ids, a buffer that is not among the weights and has no content on the meta device."""
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                assert name == "position_ids", f"{name} of {type(module).__name__} is not among the weights and unknown"
                positions = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
                module.register_buffer(name, positions, persistent=False)


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises PresetError."""
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PresetError(f"{file}: {error}", fix=FIX) from error
    if not isinstance(content, dict):
        raise PresetError(f"{file} is not a JSON object", fix=FIX)
    return cast("dict[str, Any]", content)


def read_tokenizer(folder: Path, name: str = "tokenizer") -> Tokenizer:
    file = folder / name / "tokenizer.json"
    if not file.is_file():
        raise PresetError(f"{file} is missing", fix=FIX)
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain Exception for every fault of a file
        raise PresetError(f"{file} is damaged: {error}", fix=FIX) from error
