"""The base model's files: CLIP's tokenizer with the published padding, and a UNet that fits its configuration."""

import json
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from core.model.convert.lazy_tensor import LazyTensor
from core.model.hub.base_model import base_tokenizer, base_unet
from core.service.domain.errors import CheckpointMismatch, CheckpointUnreadable, ConversionError
from tests.helpers.hub_repositories import MERGES, VOCABULARY, write_base_repository

END, START = len(VOCABULARY) - 1, len(VOCABULARY) - 2


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    folder = write_base_repository(tmp_path / "base")
    return {str(file.relative_to(folder)): file for file in folder.rglob("*.*") if file.name != "README.md"}


def test_the_tokenizer_reads_as_clip_s_does(files: dict[str, Path]) -> None:
    ours = base_tokenizer(files)
    theirs = CLIPTokenizer(
        vocab={token: index for index, token in enumerate(VOCABULARY)},
        merges=[tuple(merge.split()) for merge in MERGES],  # pyright: ignore[reportArgumentType] - annotated too narrowly
    )

    for text in ("red cat", "  A Red\n\tCAT cat", "recat!", ""):
        assert ours.encode(text).ids == theirs(text)["input_ids"]
    assert ours.encode("red cat").ids == [START, VOCABULARY.index("red</w>"), VOCABULARY.index("cat</w>"), END]


def test_the_tokenizer_pads_with_the_first_token(files: dict[str, Path]) -> None:
    padding = base_tokenizer(files).padding

    assert padding is not None
    assert (padding["pad_id"], padding["pad_token"]) == (0, "!")


def test_the_unet_is_taken_with_its_configuration(files: dict[str, Path]) -> None:
    part = base_unet(files)

    assert part.name == "first_chunk_unet"
    assert part.config["block_out_channels"] == [8, 16, 16, 16]
    assert isinstance(part.tensors["conv_in.weight"], LazyTensor)


def test_weights_of_another_size_than_the_configuration_are_refused(files: dict[str, Path]) -> None:
    config = files["unet/config.json"]
    config.write_text(config.read_text().replace("[8, 16, 16, 16]", "[16, 16, 16, 16]"))

    with pytest.raises(CheckpointMismatch, match=r"does not fit its config\.json"):
        base_unet(files)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("unet/config.json", "{", CheckpointUnreadable),
        ("unet/config.json", "[]", CheckpointUnreadable),
        ("unet/config.json", json.dumps({"down_block_types": ["NoSuchBlock"]}), CheckpointMismatch),
        ("unet/diffusion_pytorch_model.fp16.safetensors", "nothing", CheckpointUnreadable),
        ("tokenizer/vocab.json", "{}", CheckpointUnreadable),
        ("tokenizer/merges.txt", "a b c\n", CheckpointUnreadable),
        ("tokenizer/merges.txt", "x unheard-of\n", CheckpointUnreadable),
    ],
)
def test_damaged_files_are_named(
    files: dict[str, Path], name: str, content: str, expected: type[ConversionError]
) -> None:
    files[name].write_text(content)

    read = base_unet if name.startswith("unet/") else base_tokenizer
    with pytest.raises(expected) as caught:
        read(files)
    assert str(files[name].parents[1]) in caught.value.message
