"""Converts verified originals to a weights folder, which appears complete or not at all.

Knows the folder's layout; core.model.convert reads and converts the files.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from core.model.checksums import SUMS_FILE, format_sums, read_sums
from core.model.convert.disk import LocalDisk
from core.model.convert.output_folder import atomic_folder
from core.model.convert.shards import write_part, write_text
from core.model.convert.streaming_t2v import convert_checkpoint
from core.model.convert.summary import DtypeName, Part, Report
from core.model.convert.vid2vid import convert_refiner
from core.model.hub.base_model import base_tokenizer, base_unet
from core.service.engines.refiner import REFINER_FOLDER


@dataclass(frozen=True)
class OriginalFiles:
    """The files that a preset is made from, by their names in the repositories."""

    base: Mapping[str, Path]
    checkpoint: Mapping[str, Path]


def install(weights: Path, files: OriginalFiles, dtype: DtypeName, report: Report) -> None:
    """Convert `files` to the folder `weights`; the base keeps its published dtype.

    Raises ConversionError; the folder then does not exist.
    """
    unet, tokenizer = base_unet(files.base), base_tokenizer(files.base)
    with atomic_folder(weights, _num_bytes(unet), LocalDisk()) as folder:
        sums = _write_checkpoint(folder, files.checkpoint, dtype, report)
        sums |= _write_base(folder, unet, report)
        sums |= _write_tokenizer(folder, tokenizer.to_str())
        write_text(folder / SUMS_FILE, format_sums(sums), LocalDisk())


def install_refiner(weights: Path, files: Mapping[str, Path], dtype: DtypeName, report: Report) -> None:
    """Add the refiner to the installed folder `weights`; `files` in the order of preset.json.

    It has its own SHA256SUMS; that of the weights does not change. Raises ConversionError; it then does not exist.
    """
    unet, text, vae = files.values()
    convert_refiner(unet, text, vae, weights / REFINER_FOLDER, dtype=dtype, report=report)


def _write_checkpoint(folder: Path, files: Mapping[str, Path], dtype: DtypeName, report: Report) -> dict[str, str]:
    """Write the method's networks into `folder`; returns their checksums."""
    (source,) = files.values()
    converted = folder / "converted"
    convert_checkpoint(source, converted, dtype=dtype, report=report)
    sums = read_sums(converted)
    (converted / SUMS_FILE).unlink()
    for part in converted.iterdir():
        part.rename(folder / part.name)
    converted.rmdir()
    return sums


def _write_base(folder: Path, unet: Part, report: Report) -> dict[str, str]:
    meter = _meter(unet.name, _num_bytes(unet), report)
    sums = write_part(unet, folder / unet.name, _dtype(unet), LocalDisk(), meter)
    return {f"{unet.name}/{file}": digest for file, digest in sums.items()}


def _write_tokenizer(folder: Path, content: str) -> dict[str, str]:
    (folder / "tokenizer").mkdir(mode=0o755)
    name = "tokenizer/tokenizer.json"
    return {name: write_text(folder / name, content, LocalDisk())}


def _dtype(part: Part) -> torch.dtype:
    """The dtype of its first weight: published files have one dtype."""
    return next(iter(part.tensors.values())).dtype


def _num_bytes(part: Part) -> int:
    return part.num_parameters * _dtype(part).itemsize


def _meter(phase: str, total: int, report: Report) -> Callable[[int], None]:
    """A callback for bytes written, which calls `report`."""
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done = min(done + count, total)  # the file header is counted, too
        report(phase, done, total)

    return add
