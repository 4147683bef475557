"""Checkpoints are read as torch wrote them, and nothing in them is ever run."""

from __future__ import annotations

import collections
import json
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from core.model.convert.safe_file import open_checkpoint
from core.service.domain.errors import CheckpointUnreadable, CheckpointUnsafe, ConversionError, ShardMissing
from tests.helpers.checkpoints import save_lightning, write_torch_zip


class Code:
    """Unpickled the ordinary way, this makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


def some_weights() -> dict[str, Tensor]:
    """Every way in which a tensor can lie in a file."""
    shared = torch.arange(24.0).view(4, 6)
    return {
        "plain": torch.randn(3, 5),
        "transposed": torch.randn(3, 5).t(),
        "rows": shared[1:3],
        "columns": shared[:, 2:4],
        "scalar": torch.tensor(1.5),
        "none": torch.empty(0, 3),
        "bfloat16": torch.randn(7).bfloat16(),
        "float16": torch.randn(7).half(),
        "float64": torch.randn(2).double(),
        "int64": torch.arange(3),
        "bool": torch.tensor([True, False]),
        "repeated": torch.ones(1, 2).expand(5, 2),
        "parameter": torch.nn.Parameter(torch.randn(4)),
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.ckpt"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_are_as_torch_wrote_them(file: Path, protocol: int) -> None:
    weights = some_weights()
    torch.save(weights, file, pickle_protocol=protocol)

    read = open_checkpoint(file)

    assert list(read) == list(weights)
    for name, weight in weights.items():
        assert read[name].dtype == weight.dtype
        assert torch.equal(read[name].load(), weight), name


def test_of_a_lightning_file_only_the_weights_are_read(file: Path) -> None:
    save_lightning({"a": torch.ones(2)}, file)

    read = open_checkpoint(file)

    assert list(read) == ["a"]
    assert read.placeholders == ("argparse.Namespace",)


def test_code_beside_the_weights_is_listed_and_not_run(file: Path, tmp_path: Path) -> None:
    save_lightning({"a": torch.ones(2)}, file, callback=Code(tmp_path / "ran"))

    assert "posix.mkdir" in open_checkpoint(file).placeholders
    assert not (tmp_path / "ran").exists()


def in_place_of_a_tensor(code: Code) -> Any:
    return {"a": torch.ones(2), "b": code}


def deep_in_a_container(code: Code) -> Any:
    return {"state_dict": {"a": torch.ones(2), "b": [{"c": (1, code)}]}}


def in_the_attributes_of_the_dict(code: Code) -> Any:
    weights = collections.OrderedDict(a=torch.ones(2))
    vars(weights)["_metadata"] = code
    return weights


def as_a_name(code: Code) -> Any:
    del code
    return {"a": torch.ones(2), "b": os.mkdir}


def in_a_hook(code: Code) -> Any:
    weight = torch.nn.Parameter(torch.ones(2))
    weight.extra = code  # pyright: ignore[reportAttributeAccessIssue] - saved with the parameter
    return {"state_dict": {"a": weight}}


@pytest.mark.parametrize(
    "hide", [in_place_of_a_tensor, deep_in_a_container, in_the_attributes_of_the_dict, as_a_name, in_a_hook]
)
def test_code_among_the_weights_is_an_error_and_not_run(file: Path, tmp_path: Path, hide: Any) -> None:
    torch.save(hide(Code(tmp_path / "ran")), file)

    with pytest.raises(CheckpointUnsafe, match="nothing of it was run") as caught:
        open_checkpoint(file)
    assert str(file) in caught.value.message
    assert not (tmp_path / "ran").exists()


def test_a_pickle_that_refers_to_itself_ends(file: Path) -> None:
    loop: dict[str, Any] = {"a": torch.ones(2)}
    loop["self"] = [loop]
    torch.save({"state_dict": {"a": torch.ones(2)}, "loop": loop}, file)

    assert list(open_checkpoint(file)) == ["a"]


def test_a_truncated_file_is_unreadable_wherever_it_ends(file: Path) -> None:
    torch.save({"a": torch.randn(64, 64)}, file)
    whole = file.read_bytes()
    for length in (0, 3, 30, 100, 1000, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointUnreadable, match=str(file)):
            open_checkpoint(file)


def test_the_old_torch_format_is_named_with_what_to_do(file: Path) -> None:
    torch.save({"a": torch.ones(2)}, file, _use_new_zipfile_serialization=False)

    with pytest.raises(CheckpointUnreadable, match=r"before 1\.6") as caught:
        open_checkpoint(file)
    assert caught.value.fix is not None
    assert "weights_only=True" in caught.value.fix


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (b"<!doctype html>" + b" " * 50, "neither a torch checkpoint nor"),
        (b"\0" * 100, "is empty"),
        (b"x" * 8 + b"{not json", "safetensors header|longer than the file"),
    ],
    ids=["pointer", "page", "zeros", "broken safetensors"],
)
def test_another_format_is_named_by_its_first_bytes(file: Path, content: bytes, named: str) -> None:
    file.write_bytes(content)

    with pytest.raises(CheckpointUnreadable, match=named):
        open_checkpoint(file)


@pytest.mark.parametrize("path", ["nowhere.ckpt", "."])
def test_what_is_no_file_is_unreadable(tmp_path: Path, path: str) -> None:
    with pytest.raises(CheckpointUnreadable, match="cannot be read"):
        open_checkpoint(tmp_path / path)


def test_any_other_zip_file_is_unreadable(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", "<a/>")

    with pytest.raises(CheckpointUnreadable, match="not one that torch wrote"):
        open_checkpoint(file)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"a": {"b": 1}}], ids=str)
def test_a_file_without_weights_is_unreadable(file: Path, content: Any) -> None:
    torch.save(content, file)

    with pytest.raises(CheckpointUnreadable, match=r"no dict of weights|not a tensor"):
        open_checkpoint(file)


def rewritten(file: Path, **records: bytes) -> None:
    """Replace or add records of a torch file."""
    with zipfile.ZipFile(file) as archive:
        old = {info.filename.partition("/")[2]: archive.read(info) for info in archive.infolist()}
    new = {**old, **records}
    write_torch_zip(file, new.pop("data.pkl"), new)


def test_a_tensor_beyond_its_data_is_refused(file: Path) -> None:
    torch.save({"a": torch.ones(8)}, file)
    rewritten(file, **{"data/0": b"\0" * 16})

    with pytest.raises(CheckpointUnreadable, match="a reaches beyond its 16 bytes"):
        open_checkpoint(file)


def test_big_endian_files_are_refused(file: Path) -> None:
    torch.save({"a": torch.ones(8)}, file)
    rewritten(file, byteorder=b"big")

    with pytest.raises(CheckpointUnreadable, match="big-endian"):
        open_checkpoint(file)


def test_damaged_pickles_end_in_a_named_error_or_are_read(file: Path, tmp_path: Path) -> None:
    """Random bytes changed in a pickle with code in it: nothing runs, nothing but a ConversionError is raised."""
    torch.save({"state_dict": {"a": torch.ones(8)}, "code": Code(tmp_path / "ran")}, file)
    with zipfile.ZipFile(file) as archive:
        sound = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    chance = random.Random(0)  # noqa: S311 - nothing secret
    outcomes: set[bool] = set()
    for _ in range(400):
        damaged = bytearray(sound)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        write_torch_zip(file, bytes(damaged), {"data/0": b"\0" * 32})
        try:
            open_checkpoint(file)
            outcomes.add(True)
        except ConversionError:
            outcomes.add(False)
    assert outcomes == {True, False}
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_damaged_files_end_in_a_named_error_or_are_read(file: Path, kind: str) -> None:
    weights = {"a": torch.ones(8), "b": torch.ones(3)}
    if kind == "torch":
        torch.save(weights, file)
    else:
        save_file(weights, file)
    sound = file.read_bytes()
    chance = random.Random(0)  # noqa: S311 - nothing secret
    num_refused = 0
    for _ in range(400):
        damaged = bytearray(sound)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        file.write_bytes(damaged)
        try:
            for tensor in open_checkpoint(file).values():
                tensor.load()
        except ConversionError:
            num_refused += 1
    assert 50 < num_refused < 400


@pytest.mark.parametrize(
    "pickled",
    [
        b"cbuiltins\nexec\n(S'raise SystemExit'\ntR.",
        b"(S'raise SystemExit'\nibuiltins\nexec\n.",
        b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x10raise SystemExit\x85R.",
        b"\x80\x02\x82\x01.",
        pickle.dumps({"a": object()}),
    ],
    ids=["global", "instance", "stack global", "extension", "object"],
)
def test_no_opcode_calls_anything(file: Path, pickled: bytes) -> None:
    write_torch_zip(file, pickled)

    with pytest.raises((CheckpointUnreadable, CheckpointUnsafe)):
        open_checkpoint(file)


def test_safetensors_are_read_like_torch_files(tmp_path: Path) -> None:
    weights = {"a": torch.randn(3, 4), "b": torch.randn(2).bfloat16(), "c": torch.tensor(2.0)}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})

    read = open_checkpoint(tmp_path / "model.safetensors")

    assert {name: tensor.load().tolist() for name, tensor in read.items()} == {
        name: weight.tolist() for name, weight in weights.items()
    }


def test_truncated_safetensors_are_unreadable(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.randn(30, 40)}, file)
    for length in (20, file.stat().st_size - 1):
        file.write_bytes(file.read_bytes()[:length])
        with pytest.raises(CheckpointUnreadable, match="truncated"):
            open_checkpoint(file)


def write_shards(folder: Path) -> Path:
    """A Hub model in two files."""
    torch.save({"a": torch.ones(2)}, folder / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": torch.zeros(3)}, folder / "pytorch_model-00002-of-00002.bin")
    names = {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    return index


def test_shards_are_read_by_their_index(tmp_path: Path) -> None:
    read = open_checkpoint(write_shards(tmp_path))

    assert {name: tensor.shape for name, tensor in read.items()} == {"a": (2,), "b": (3,)}


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    index = write_shards(tmp_path)
    (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()

    with pytest.raises(ShardMissing, match="00002-of-00002") as caught:
        open_checkpoint(index)
    assert caught.value.code == "shard_missing"


@pytest.mark.parametrize("content", ["[", '{"weight_map": 3}', '{"weight_map": {"a": "../model.bin"}}'], ids=str)
def test_a_wrong_index_is_refused(tmp_path: Path, content: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(content)

    with pytest.raises((CheckpointUnreadable, ShardMissing)):
        open_checkpoint(index)
