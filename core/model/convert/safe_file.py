"""Opens checkpoints without executing code in them: torch zip files, safetensors, and shards listed by an index.

Returns lazy tensors: those under `state_dict` if the file has one (Lightning), else all. Other content (optimizer,
hyperparameters) is not read; objects in it that are not plain data are listed.
"""

import json
import math
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from core.model.convert.lazy_tensor import LazyTensor
from core.model.convert.pickle_nodes import (
    Dictionary,
    Name,
    Node,
    Placeholder,
    StorageReference,
    TensorReference,
)
from core.model.convert.pickle_reader import read_pickle
from core.service.domain.errors import CheckpointUnreadable, CheckpointUnsafe, ShardMissing

INDEX_SUFFIX = ".index.json"
_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_TORCH_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
_LOCAL_HEADER = struct.Struct("<26xHH")  # the lengths of a zip record's name and extra field, at the end of its header
_MAX_HEADER_BYTES = 100_000_000
_LEGACY_FIX = "rewrite it on a machine that trusts it: torch.save(torch.load(FILE, weights_only=True), NEW_FILE)"
_STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class LazyTensors(Mapping[str, LazyTensor]):
    """The weights of a checkpoint, still in their files."""

    path: Path
    tensors: dict[str, LazyTensor]
    placeholders: tuple[str, ...] = ()
    """Globals outside the weights that torch.load would have imported; they were not."""

    def __getitem__(self, name: str) -> LazyTensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def open_checkpoint(path: Path) -> LazyTensors:
    """Weights of a torch zip file (.ckpt, .pth, .bin), a .safetensors file, or an index (`*.index.json`) of either.

    Raises CheckpointUnreadable (missing, truncated, of another format), CheckpointUnsafe (code or an object among the
    weights), ShardMissing. The files must stay in place while the tensors are used.
    """
    try:
        if path.name.endswith(INDEX_SUFFIX):
            return _open_shards(path)
        with path.open("rb") as file:
            start = file.read(64)
        if start.startswith(_ZIP_MAGIC):
            return _open_torch_zip(path)
        if start[8:9] == b"{":
            return _open_safetensors(path)
        raise CheckpointUnreadable(_unknown_format(start), fix=_LEGACY_FIX if _is_legacy(start) else None)
    except OSError as error:
        raise CheckpointUnreadable(f"{path} cannot be read: {error.strerror or error}") from error
    except (CheckpointUnreadable, CheckpointUnsafe) as error:
        if str(path) in error.message:
            raise
        raise type(error)(f"{path}: {error.message}", fix=error.fix) from error


def _is_legacy(start: bytes) -> bool:
    return start.startswith(_LEGACY_TORCH_MAGIC)


def _unknown_format(start: bytes) -> str:
    """A description of an unsupported file, from its first bytes."""
    if _is_legacy(start):
        return "it is in torch's old format (before 1.6), which cannot be mapped into memory"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself"
    if not start.strip(b"\0"):
        return "it is empty"
    return "it is neither a torch checkpoint nor a safetensors file"


# --- torch zip files


def _open_torch_zip(path: Path) -> LazyTensors:
    try:
        with zipfile.ZipFile(path) as archive:
            records = _Records.of(archive, path)
            tree = read_pickle(archive.read(records.named("data.pkl")))
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, struct.error) as error:
        raise CheckpointUnreadable(f"it is damaged or truncated ({error})") from error
    weights = _weights_of(tree.root)
    tensors: dict[str, LazyTensor] = {}
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, TensorReference):
            raise CheckpointUnreadable(f"{name!r} among its weights is a {type(value).__name__}, not a tensor")
        tensors[name] = records.tensor(name, value)
    return LazyTensors(path, tensors, tree.unknown)


@dataclass(frozen=True)
class _Records:
    """Byte ranges of a torch zip file's records: name below the archive's folder -> (first byte, size)."""

    path: Path
    folder: str
    places: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, archive: zipfile.ZipFile, path: Path) -> "_Records":
        pickles = [info.filename for info in archive.infolist() if info.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise CheckpointUnreadable("it is a zip file, but not one that torch wrote")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise CheckpointUnreadable("it was written on a big-endian machine")
        with path.open("rb") as file:
            places = {info.filename.removeprefix(folder): _place(info, file) for info in archive.infolist()}
        size = path.stat().st_size
        if any(start + num_bytes > size for start, num_bytes in places.values()):
            raise CheckpointUnreadable("it is damaged or truncated (its records reach beyond its end)")
        return cls(path, folder, places)

    def named(self, name: str) -> str:
        return self.folder + name

    def tensor(self, name: str, reference: TensorReference) -> LazyTensor:
        """The tensor, checked to lie within its storage."""
        dtype = _dtype(name, reference.storage)
        place = self.places.get(f"data/{reference.storage.key}")
        if place is None:
            raise CheckpointUnreadable(f"the data of {name} are missing")
        start, num_bytes = place
        offset = reference.offset * dtype.itemsize
        tensor = LazyTensor(self.path, start + offset, dtype, reference.shape, reference.strides)
        if offset + tensor.span_bytes > num_bytes:
            raise CheckpointUnreadable(f"{name} reaches beyond its {num_bytes} bytes of data")
        return tensor


def _place(info: zipfile.ZipInfo, file: BinaryIO) -> tuple[int, int]:
    """First byte and size of a record's data, after its local header."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise CheckpointUnreadable("it is compressed, so it was not written by torch")
    file.seek(info.header_offset)
    name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    return info.header_offset + _LOCAL_HEADER.size + name_length + extra_length, info.file_size


def _dtype(name: str, storage: StorageReference) -> torch.dtype:
    dtype = _STORAGE_DTYPES.get(storage.storage_type)
    if dtype is None:
        raise CheckpointUnreadable(f"{name} is stored as {storage.storage_type}, which is no type of weights")
    return dtype


def _weights_of(root: Node) -> Dictionary:
    """The dict of weights. Raises CheckpointUnsafe if it holds placeholders."""
    whole = root if isinstance(root, Dictionary) else Dictionary()
    inner = whole.get("state_dict")
    weights = inner if isinstance(inner, Dictionary) else whole
    if not weights:
        raise CheckpointUnreadable("it holds no dict of weights")
    for node in _walk(weights):
        if isinstance(node, Placeholder | Name):
            name = node.dotted if isinstance(node, Name) else node.name
            raise CheckpointUnsafe(
                f"its weights hold {name}, which is code or an object, not a tensor; nothing of it was run",
                fix="get the file from its publisher again; weights need nothing but tensors",
            )
    return weights


def _walk(root: Node) -> Iterator[Node]:
    """Every node below `root`, each once (a pickle may refer to one object many times, or to itself)."""
    waiting: list[Node] = [root]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        waiting.extend(_children(node))


def _children(node: Node) -> list[Node]:
    if isinstance(node, Dictionary):
        return [*node.keys(), *node.values(), node.state]
    if isinstance(node, TensorReference):
        return list(node.more)
    if isinstance(node, list | tuple | set):
        return list(cast("list[Node]", node))
    return []


# --- safetensors


def _open_safetensors(path: Path) -> LazyTensors:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(_MAX_HEADER_BYTES, size):
            raise CheckpointUnreadable("it is damaged or truncated (its header is longer than the file)")
        header = file.read(length)
    try:
        entries: dict[str, Any] = json.loads(header)
        entries.pop("__metadata__", None)
        tensors = {name: _safetensor(path, 8 + length, entry) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointUnreadable(f"its safetensors header is damaged ({error!r})") from error
    if any(tensor.offset + tensor.span_bytes > size for tensor in tensors.values()):
        raise CheckpointUnreadable("it is truncated")
    return LazyTensors(path, tensors)


def _safetensor(path: Path, data_start: int, entry: dict[str, Any]) -> LazyTensor:
    """One entry of a header: contiguous, in row order."""
    shape = tuple(int(size) for size in entry["shape"])
    strides = tuple(math.prod(shape[index + 1 :]) for index in range(len(shape)))
    start = int(entry["data_offsets"][0])
    if start < 0 or any(size < 0 for size in shape):
        raise ValueError("a negative size")
    return LazyTensor(path, data_start + start, _SAFETENSORS_DTYPES[entry["dtype"]], shape, strides)


# --- shards


def _open_shards(index: Path) -> LazyTensors:
    """Weights of all files in an index of transformers or diffusers."""
    try:
        content: Any = json.loads(index.read_text(encoding="utf-8"))
        files = dict(content["weight_map"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointUnreadable(f"it is no index of shards ({error!r})") from error
    shards: dict[str, LazyTensors] = {}
    for file in sorted({str(file) for file in files.values()}):
        if Path(file).name != file or not (index.parent / file).is_file():
            raise ShardMissing(f"{index} names {file}, which is not beside it", fix="download the missing file")
        shards[file] = open_checkpoint(index.parent / file)
    absent = [name for name, file in files.items() if name not in shards[str(file)]]
    if absent:
        raise CheckpointUnreadable(f"{absent[0]} is not in {files[absent[0]]}, where the index has it")
    tensors = {name: shards[str(file)][name] for name, file in files.items()}
    unknown = {placeholder for shard in shards.values() for placeholder in shard.placeholders}
    return LazyTensors(index, tensors, tuple(sorted(unknown)))
