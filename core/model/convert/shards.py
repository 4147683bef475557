"""Writes a network's folder: config.json and safetensors files, tensor by tensor, so that memory holds one at a time.

safetensors' own writer takes all tensors of a file at once; the format (a JSON header, then the bytes in its order)
needs no more than their shapes in advance. Knows no model: names and configs are given.
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
    """A new file that is hashed as it is written, and on the disk when it is closed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._digest.update(data)

    def finish(self) -> str:
        """Flush to the disk; the SHA-256 of all bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()


def write_part(
    part: Part, folder: Path, dtype: torch.dtype, disk: Disk, on_bytes: OnBytes, shard_bytes: int = SHARD_BYTES
) -> dict[str, str]:
    """Write config.json and the weights of one network into a new folder; SHA-256 of each file by name.

    Weights become `dtype`; `on_bytes` hears how many bytes of them were written. Raises WeightsOutOfRange, and what the
    disk raises.
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
    """A small file; its SHA-256."""
    with disk.create(path) as stream:
        sink = HashingWriter(stream)
        sink.write(text.encode())
        return sink.finish()


def group_into_shards(tensors: Tensors, dtype: torch.dtype, shard_bytes: int = SHARD_BYTES) -> list[Tensors]:
    """Tensors in their order, cut where a file would exceed `shard_bytes`."""
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


def _write_tensors(sink: HashingWriter, tensors: Tensors, dtype: torch.dtype, on_bytes: OnBytes) -> str:
    sink.write(_header(tensors, dtype))
    for name, tensor in tensors.items():
        data = _bytes(_converted(name, tensor.load(), dtype))
        sink.write(data)
        on_bytes(len(data))
    return sink.finish()


def _header(tensors: Tensors, dtype: torch.dtype) -> bytes:
    """Length and JSON header of a safetensors file, padded so that the data are aligned."""
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
    # Only half precision has a range smaller than the weights' own type.
    if dtype is torch.float16 and not converted.isfinite().all():
        raise WeightsOutOfRange(
            f"{name} holds values that float16 cannot hold (beyond 65504, or not finite)", fix="use --dtype bfloat16"
        )
    return converted


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
