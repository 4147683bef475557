"""Whole conversions of small checkpoints: the output loads and has the checkpoint's numbers."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from typing import cast

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPVisionModelWithProjection

from core.model.checksums import read_sums, verify_sums
from core.model.convert.disk import LocalDisk
from core.model.convert.safe_file import open_checkpoint
from core.model.convert.shards import group_into_shards, shard_names, write_part
from core.model.convert.streaming_t2v import convert_checkpoint
from core.model.convert.summary import DtypeName, Part
from core.model.convert.vid2vid import convert_refiner
from core.model.engines.streaming_t2v.checkpoint import StreamingWeights, to_official
from core.model.engines.streaming_t2v.networks import load_network
from core.model.presets.files import load_module
from core.service.domain.errors import CheckpointMismatch, WeightsDamaged, WeightsOutOfRange
from tests.helpers.checkpoints import (
    SMALL_STREAMING,
    save_lightning,
    save_refiner,
    streaming_weights,
)

PARTS = ["unet", "cam", "conditioning", "vae", "text_encoder", "image_encoder"]


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return streaming_weights()


@pytest.fixture(scope="module")
def source(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_lightning(weights, tmp_path_factory.mktemp("source") / "streaming_t2v.ckpt")


@pytest.fixture(scope="module")
def converted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "weights"
    convert_checkpoint(source, out)
    return out


def test_the_network_loads_with_the_checkpoints_weights(converted: Path, weights: dict[str, Tensor]) -> None:
    network = load_network(converted)

    loaded = StreamingWeights(**{name: part.state_dict() for name, part in network.parts.items()})
    official = to_official(loaded, network.mixers.layer_names)

    assert len(official) > 1500
    assert [name for name, weight in official.items() if not torch.equal(weight, weights[name])] == []


def test_the_other_models_load_with_the_checkpoints_weights(converted: Path, weights: dict[str, Tensor]) -> None:
    vae = load_module(converted / "vae", lambda config: cast(AutoencoderKL, AutoencoderKL.from_config(config)))
    text = load_module(converted / "text_encoder", lambda config: CLIPTextModel(CLIPTextConfig.from_dict(config)))
    pictures = load_module(
        converted / "image_encoder", lambda config: CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
    )

    for prefix, model in (("vae.", vae), ("text_encoder.text_model.", text)):
        assert all(torch.equal(weight, weights[prefix + name]) for name, weight in model.state_dict().items())
    projection = pictures.state_dict()["visual_projection.weight"]
    assert torch.equal(projection, weights["image_encoder.model.visual.proj"].t())


def test_configs_and_summary_say_what_was_converted(source: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    def report(phase: str, done_bytes: int, total_bytes: int) -> None:
        seen.append((phase, done_bytes, total_bytes))

    summary = convert_checkpoint(source, tmp_path / "out", dtype="bfloat16", report=report)

    assert [part.name for part in summary.parts] == PARTS
    assert summary.num_bytes == 2 * summary.num_parameters
    assert (summary.is_published_size, summary.source_dtypes) == (False, ("float32",))
    assert summary.placeholders == ("argparse.Namespace",)
    assert seen[-1] == ("image_encoder", summary.num_bytes, summary.num_bytes)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    config = json.loads((tmp_path / "out" / "conditioning" / "config.json").read_text())
    assert config == SMALL_STREAMING.conditioning


@pytest.mark.parametrize(("name", "dtype"), [("bfloat16", torch.bfloat16), ("float16", torch.float16)])
def test_weights_are_rounded_to_the_wanted_type(
    source: Path, weights: dict[str, Tensor], tmp_path: Path, name: DtypeName, dtype: torch.dtype
) -> None:
    convert_checkpoint(source, tmp_path / "out", dtype=name)

    stored = load_file(tmp_path / "out" / "unet" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {dtype}
    assert torch.equal(stored["conv_in.weight"], weights["base_model.conv_in.weight"].to(dtype))


def test_a_weight_beyond_half_precision_is_an_error(weights: dict[str, Tensor], tmp_path: Path) -> None:
    large = {**weights, "vae.quant_conv.bias": torch.full_like(weights["vae.quant_conv.bias"], 70000.0)}
    file = save_lightning(large, tmp_path / "large.ckpt")

    with pytest.raises(WeightsOutOfRange, match=r"quant_conv\.bias"):
        convert_checkpoint(file, tmp_path / "out", dtype="float16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.ckpt"]
    assert convert_checkpoint(file, tmp_path / "out", dtype="bfloat16").num_parameters > 0


def test_older_names_and_dead_weights_are_tolerated(weights: dict[str, Tensor], tmp_path: Path) -> None:
    older = {name.replace("attentions.0.to_q.", "attentions.0.query."): weight for name, weight in weights.items()}
    vae_only = {name: weight for name, weight in older.items() if name.startswith("vae.")}
    others = {name: weight for name, weight in weights.items() if not name.startswith("vae.")}
    positions = {"text_encoder.text_model.embeddings.position_ids": torch.arange(10)[None]}
    dead = {
        "image_encoder.model.logit_scale": torch.ones(()),
        "image_encoder.model.token_embedding.weight": torch.ones(2),
    }
    file = save_lightning({**others, **vae_only, **positions, **dead}, tmp_path / "older.ckpt")

    summary = convert_checkpoint(file, tmp_path / "out")

    assert summary.num_ignored == 3
    stored = load_file(tmp_path / "out" / "vae" / "model.safetensors")
    name = "encoder.mid_block.attentions.0.to_q.weight"
    assert torch.equal(stored[name], weights[f"vae.{name}"])
    assert f"vae.{name}" not in older


def damaged(weights: dict[str, Tensor], tmp_path: Path) -> str:
    """The message with which a wrong checkpoint is refused."""
    file = save_lightning(weights, tmp_path / "wrong.ckpt")
    with pytest.raises(CheckpointMismatch) as caught:
        convert_checkpoint(file, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wrong.ckpt"]
    return caught.value.message


def test_a_missing_weight_is_named(weights: dict[str, Tensor], tmp_path: Path) -> None:
    name = "base_model.mid_block.attentions.0.transformer_blocks.0.attn2.alpha"

    message = damaged({key: weight for key, weight in weights.items() if key != name}, tmp_path)

    assert "1 missing" in message
    assert f"{name} []" in message
    assert "unexpected" not in message


def test_an_unexpected_weight_is_named(weights: dict[str, Tensor], tmp_path: Path) -> None:
    message = damaged({**weights, "unet.up_blocks.0.bias": torch.ones(3)}, tmp_path)

    assert "1 unexpected" in message
    assert "unet.up_blocks.0.bias [3]" in message


def test_a_misshapen_weight_is_named_with_the_shape_it_should_have(weights: dict[str, Tensor], tmp_path: Path) -> None:
    message = damaged({**weights, "base_model.conv_in.weight": torch.ones(8, 3, 3, 3)}, tmp_path)

    assert "1 misshapen" in message
    assert "base_model.conv_in.weight [8, 3, 3, 3] instead of [8, 4, 3, 3]" in message


def test_a_weight_of_a_wrong_type_is_named(weights: dict[str, Tensor], tmp_path: Path) -> None:
    quantized = weights["base_model.conv_in.weight"].to(torch.int8)

    message = damaged({**weights, "base_model.conv_in.weight": quantized}, tmp_path)

    assert "1 of a wrong type" in message
    assert "base_model.conv_in.weight int8" in message


def test_many_faults_are_counted_by_part_and_the_first_shown(weights: dict[str, Tensor], tmp_path: Path) -> None:
    message = damaged({key: weight for key, weight in weights.items() if not key.startswith("vae.")}, tmp_path)

    assert ": 248 missing\n" in message
    assert "missing (vae 248)" in message
    assert "and 228 more" in message
    assert len(message.splitlines()) == 23


def test_another_model_is_refused(tmp_path: Path) -> None:
    message = damaged({"model.diffusion_model.out.0.weight": torch.ones(320)}, tmp_path)

    assert "3401 missing, 1 unexpected" in message


def test_files_are_readable_by_everyone_and_listed_with_their_hashes(converted: Path) -> None:
    files = sorted(file for file in converted.rglob("*") if file.is_file())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o644}
    assert {stat.S_IMODE(path.stat().st_mode) for path in converted.rglob("*") if path.is_dir()} == {0o755}
    sums = read_sums(converted)
    assert sorted(sums) == sorted(str(file.relative_to(converted)) for file in files if file.name != "SHA256SUMS")
    assert all(hashlib.sha256((converted / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())


def test_verifying_names_what_has_changed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert_checkpoint(source, out)
    assert verify_sums(out) == 12
    file = out / "cam" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    (out / "vae" / "config.json").unlink()

    with pytest.raises(WeightsDamaged, match=r"cam/model\.safetensors has changed since.*vae/config\.json is missing"):
        verify_sums(out)


def test_a_part_beyond_the_limit_is_cut_into_shards_with_an_index(source: Path, tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in open_checkpoint(source).items() if name.startswith("vae.")}
    limit = 50_000

    write_part(Part("vae", {}, tensors), tmp_path / "vae", torch.float32, LocalDisk(), lambda _: None, limit)

    index = json.loads((tmp_path / "vae" / "model.safetensors.index.json").read_text())
    files = shard_names(len(group_into_shards(tensors, torch.float32, limit)))
    assert len(files) > 1
    assert set(index["weight_map"].values()) == set(files)
    read = {name: weight for file in files for name, weight in load_file(tmp_path / "vae" / file).items()}
    assert index["metadata"]["total_size"] == sum(weight.nbytes for weight in read.values())
    assert all(torch.equal(read[name], tensor.load()) for name, tensor in tensors.items())


@pytest.fixture(scope="module")
def refiner(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return save_refiner(tmp_path_factory.mktemp("refiner"))


def test_the_refiner_loads_with_its_files_weights(refiner: tuple[Path, Path, Path], tmp_path: Path) -> None:
    summary = convert_refiner(*refiner, tmp_path / "out")

    unet = load_module(
        tmp_path / "out" / "unet", lambda config: cast(UNet3DConditionModel, UNet3DConditionModel.from_config(config))
    )
    stored = torch.load(refiner[0])
    assert torch.equal(unet.state_dict()["conv_out.bias"], stored["out.2.bias"])
    assert torch.equal(
        unet.state_dict()["mid_block.temp_attentions.0.proj_in.weight"], stored["middle_block.2.proj_in.weight"][..., 0]
    )
    assert [part.name for part in summary.parts] == ["unet", "text_encoder", "vae"]
    load_module(tmp_path / "out" / "vae", lambda config: cast(AutoencoderKL, AutoencoderKL.from_config(config)))
    text = load_module(
        tmp_path / "out" / "text_encoder", lambda config: CLIPTextModel(CLIPTextConfig.from_dict(config))
    )
    assert text.config.num_hidden_layers == 2


@pytest.mark.parametrize("place", [0, 1, 2], ids=["unet", "text", "vae"])
def test_the_refiners_wrong_file_is_named(refiner: tuple[Path, Path, Path], tmp_path: Path, place: int) -> None:
    wrong = tmp_path / "wrong.pth"
    torch.save({"a": torch.ones(2)}, wrong)
    files = [*refiner]
    files[place] = wrong

    with pytest.raises(CheckpointMismatch, match=str(wrong)):
        convert_refiner(files[0], files[1], files[2], tmp_path / "out")
    assert not (tmp_path / "out").exists()
