"""The files of a preset folder: config.json, safetensors (one file or shards), tokenizer.json; faults named clearly.

Knows file formats; knows no network, no schedule and no sampling.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from core.service.errors import PresetError

FIX = "restore the preset's files"
Model = TypeVar("Model", bound=nn.Module)


def load_module(folder: Path, build: Callable[[dict[str, Any]], Model]) -> Model:
    """A model from its folder's config.json and weights, float32, in evaluation mode."""
    try:
        model = build(_read_json(folder / "config.json"))
    except (KeyError, TypeError, ValueError) as error:
        raise PresetError(f"{folder / 'config.json'} does not describe this model: {error!r}", fix=FIX) from error
    weights = _read_weights(folder)
    try:
        model.load_state_dict({name: _upcast(weight) for name, weight in weights.items()})
    except RuntimeError as error:
        raise PresetError(f"the weights in {folder} do not fit its config.json: {error}", fix=FIX) from error
    return model.eval().requires_grad_(False)


def _upcast(weight: Tensor) -> Tensor:
    return weight.float() if weight.is_floating_point() else weight


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """Tensors of all safetensors files in a folder (one, or the shards of one)."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise PresetError(f"{folder} holds no .safetensors file", fix=FIX)
    weights: dict[str, Tensor] = {}
    for file in files:
        try:
            weights.update(load_file(file))
        except (OSError, SafetensorError) as error:
            raise PresetError(f"{file} is damaged: {error}", fix=FIX) from error
    return weights


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PresetError(f"{file}: {error}", fix=FIX) from error
    if not isinstance(content, dict):
        raise PresetError(f"{file} is not a JSON object", fix=FIX)
    return cast("dict[str, Any]", content)


def read_tokenizer(folder: Path) -> Tokenizer:
    file = folder / "tokenizer" / "tokenizer.json"
    if not file.is_file():
        raise PresetError(f"{file} is missing", fix=FIX)
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain Exception for every fault of a file
        raise PresetError(f"{file} is damaged: {error}", fix=FIX) from error
