"""Weights of a folder: one file or shards, in the wanted type, built without memory; what is missing is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel

from core.model.presets.files import load_module
from core.service.domain.errors import PresetError


def build(config: dict[str, Any]) -> nn.Module:
    return nn.Sequential(nn.Linear(config["width"], 3), nn.Linear(3, 2))


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).state_dict()


@pytest.fixture
def folder(tmp_path: Path, weights: dict[str, torch.Tensor]) -> Path:
    """Two shards with their index, and a file that the index does not name."""
    names = list(weights)
    shards = {"model-00001-of-00002.safetensors": names[:3], "model-00002-of-00002.safetensors": names[3:]}
    for file, own in shards.items():
        save_file({name: weights[name] for name in own}, tmp_path / file)
    save_file({name: weight + 1 for name, weight in weights.items()}, tmp_path / "model.fp16.safetensors")
    places = {name: file for file, own in shards.items() for name in own}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (tmp_path / "config.json").write_text('{"width": 4}')
    return tmp_path


def test_shards_are_loaded_by_their_index(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    loaded = load_module(folder, build).state_dict()

    assert all(torch.equal(loaded[name], weight) for name, weight in weights.items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_weights_are_loaded_in_the_wanted_type(folder: Path, dtype: torch.dtype) -> None:
    model = load_module(folder, build, dtype=dtype)

    assert {weight.dtype for weight in model.parameters()} == {dtype}
    assert not any(weight.requires_grad for weight in model.parameters())


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").unlink()

    with pytest.raises(PresetError, match=r"lacks model-00002-of-00002\.safetensors") as caught:
        load_module(folder, build)
    assert str(folder) in caught.value.message


def test_an_index_without_files_is_named(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": 3}')

    with pytest.raises(PresetError, match=r"index\.json names no files"):
        load_module(folder, build)


def test_a_loaded_model_keeps_its_weights_when_the_file_is_replaced(
    folder: Path, weights: dict[str, torch.Tensor]
) -> None:
    model = load_module(folder, build)
    for file in folder.glob("*.safetensors"):
        file.write_bytes(b"\0" * file.stat().st_size)

    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in weights.items())


def test_positions_that_are_no_weights_are_filled(tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = {**sizes, "vocab_size": 10, "max_position_embeddings": 6, "bos_token_id": 8, "eos_token_id": 9}
    model = CLIPTextModel(CLIPTextConfig.from_dict(config)).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))

    loaded = load_module(tmp_path, lambda config: CLIPTextModel(CLIPTextConfig.from_dict(config)))

    ids_BL = torch.tensor([[8, 1, 2, 3, 4, 9]])
    assert torch.equal(loaded(input_ids=ids_BL).last_hidden_state, model(input_ids=ids_BL).last_hidden_state)
