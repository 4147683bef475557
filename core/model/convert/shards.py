"""Writes a network's folder: config.json and safetensors files, with one tensor in memory at a time.

safetensors' own writer takes all tensors of a file at once, although the format (a JSON header, then the data) needs
only their shapes in advance.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from core.model.convert.disk import Disk
from core.model.convert.lazy_tensor import LazyTensor
from core.model.convert.summary import Part
from core.service.domain.errors import WeightsOutOfRange

SHARD_BYTES = 2_000_000_000
_DTYPE_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_ALIGNMENT = 8

OnBytes = Callable[[int], None]
Tensors = dict[str, LazyTensor]


class HashingWriter:
    """A file that is hashed while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._digest.update(data)

    def finish(self) -> str:
        """Flush to disk; returns the hex SHA-256 of all bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()


def write_part(
    part: Part, folder: Path, dtype: torch.dtype, disk: Disk, on_bytes: OnBytes, shard_bytes: int = SHARD_BYTES
) -> dict[str, str]:
    """Write config.json and the weights of one network into a new folder; returns hex SHA-256 by file name.

    Weights are converted to `dtype`; `on_bytes` is called with the bytes written. Raises WeightsOutOfRange, OSError.
    """
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    groups = group_into_shards(part.tensors, dtype, shard_bytes)
    files = shard_names(len(groups))
    sums: dict[str, str] = {}
    for file, group in zip(files, groups, strict=True):
        with disk.create(folder / file) as stream:
            sums[file] = _write_tensors(HashingWriter(stream), group, dtype, on_bytes)
    texts = {"config.json": _json(part.config)}
    if len(files) > 1:
        texts["model.safetensors.index.json"] = _json(_index(files, groups, dtype))
    for file, text in texts.items():
        sums[file] = write_text(folder / file, text, disk)
    return sums


def write_text(path: Path, text: str, disk: Disk) -> str:
    """Write a small file; returns its hex SHA-256."""
    with disk.create(path) as stream:
        out = HashingWriter(stream)
        out.write(text.encode())
        return out.finish()


def group_into_shards(tensors: Tensors, dtype: torch.dtype, shard_bytes: int = SHARD_BYTES) -> list[Tensors]:
    """Tensors in their order, split before a file would exceed `shard_bytes`."""
    groups: list[Tensors] = [{}]
    used = 0
    for name, tensor in tensors.items():
        size = tensor.num_elements * dtype.itemsize
        if groups[-1] and used + size > shard_bytes:
            groups.append({})
            used = 0
        groups[-1][name] = tensor
        used += size
    return groups


def shard_names(count: int) -> list[str]:
    """transformers' names: model.safetensors, or model-00001-of-00003.safetensors ..."""
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]


def _index(files: list[str], groups: list[Tensors], dtype: torch.dtype) -> dict[str, Any]:
    total = sum(tensor.num_elements for group in groups for tensor in group.values()) * dtype.itemsize
    names = {name: file for file, group in zip(files, groups, strict=True) for name in group}
    return {"metadata": {"total_size": total}, "weight_map": dict(sorted(names.items()))}


def _write_tensors(out: HashingWriter, tensors: Tensors, dtype: torch.dtype, on_bytes: OnBytes) -> str:
    out.write(_header(tensors, dtype))
    for name, tensor in tensors.items():
        data = _bytes(_converted(name, tensor.load(), dtype))
        out.write(data)
        on_bytes(len(data))
    return out.finish()


def _header(tensors: Tensors, dtype: torch.dtype) -> bytes:
    """Length and JSON header of a safetensors file, padded to align the data."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.num_elements * dtype.itemsize
        entries[name] = {"dtype": _DTYPE_NAMES[dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _converted(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor` in the wanted type and in row order."""
    converted = tensor.to(dtype).contiguous()
    # Of the three dtypes only float16 has a smaller range.
    if dtype is torch.float16 and not converted.isfinite().all():
        raise WeightsOutOfRange(
            f"{name} holds values that float16 cannot hold (beyond 65504, or not finite)", fix="use --dtype bfloat16"
        )
    return converted


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
