"""Installs verified files of diffusers repositories as a weights folder, which appears complete or not at all.

Files stay as they are: hard links to the downloads, or copies on another disk. Only an index of shards with a variant's
names is written anew, and a tokenizer.json is made for tokenizers without one.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from core.model.checksums import SUMS_FILE, format_sums
from core.model.convert.disk import LocalDisk
from core.model.convert.output_folder import atomic_folder
from core.model.convert.safe_file import INDEX_SUFFIX
from core.model.convert.shards import write_text
from core.model.convert.summary import Report
from core.model.hub.fast_tokenizer import TOKENIZER_FILE, fast_tokenizer
from core.model.hub.json_file import read_object
from core.model.hub.pinned_files import PinnedFiles
from core.service.domain.errors import CheckpointUnreadable, ShardMissing
from core.service.engines.hub_names import plain_name
from core.service.engines.preset import PipelineFiles

_PHASE = "install"


@dataclass(frozen=True)
class _File:
    """A verified file, and its path in the folder that is being filled."""

    source: Path
    sha256: str
    name: str

    @property
    def index(self) -> dict[str, Any] | None:
        """Its content with the installed names of the shards, if it is an index of shards."""
        if not self.name.endswith(INDEX_SUFFIX):
            return None
        content = read_object(self.source)
        shards: object = content.get("weight_map")
        if not isinstance(shards, dict):
            raise CheckpointUnreadable(f"{self.source} names no shards")
        return {**content, "weight_map": {str(name): plain_name(str(file)) for name, file in shards.items()}}


def install_pipeline(weights: Path, sources: Mapping[PipelineFiles, PinnedFiles], report: Report) -> None:
    """Install all files of `sources` as the folder `weights`, with a tokenizer.json for every tokenizer.

    Raises ConversionError; the folder then does not exist.
    """
    files = [file for wanted, pinned in sources.items() for file in _files(wanted, pinned, wanted.into)]
    _install(weights, files, report)


def install_part(weights: Path, wanted: PipelineFiles, pinned: PinnedFiles, report: Report) -> None:
    """Add an optional part to the installed folder `weights`: the folder `wanted.into`, with its own SHA256SUMS.

    Raises ConversionError; the part then does not exist.
    """
    _install(weights / wanted.into, _files(wanted, pinned, ""), report)


def _files(wanted: PipelineFiles, pinned: PinnedFiles, into: str) -> list[_File]:
    return [_File(pinned.files[name], pinned.sums[name], str(Path(into, plain_name(name)))) for name in wanted.files]


def _install(out: Path, files: Sequence[_File], report: Report) -> None:
    for file in files:
        _check(file, {other.name for other in files})
    total, done = sum(file.source.stat().st_size for file in files), 0
    with atomic_folder(out, _bytes_to_copy(out, files), LocalDisk()) as folder:
        sums: dict[str, str] = {}
        for file in files:
            report(_PHASE, done, total)
            sums[file.name] = _place(file, folder)
            done += file.source.stat().st_size
        sums |= _add_tokenizers(folder)
        write_text(folder / SUMS_FILE, format_sums(sums), LocalDisk())
    report(_PHASE, total, total)


def _check(file: _File, names: Iterable[str]) -> None:
    """Raises CheckpointUnreadable for weights that are no safetensors, ShardMissing for shards that are not pulled."""
    if file.source.suffix == ".safetensors":
        try:
            with safe_open(file.source, framework="pt") as content:
                content.keys()
        except SafetensorError as error:
            raise CheckpointUnreadable(f"{file.source} is no safetensors file: {error}") from error
    for shard in set((file.index or {}).get("weight_map", {}).values()):
        if str(Path(file.name).with_name(shard)) not in names:
            raise ShardMissing(f"{file.source} names {shard}, which preset.json does not", fix="add it to `files`")


def _bytes_to_copy(out: Path, files: Sequence[_File]) -> int:
    """Size of what is on another disk; links need no room."""
    disk = next(folder for folder in out.parents if folder.exists()).stat().st_dev
    stats = [file.source.stat() for file in files]
    return sum(stat.st_size for stat in stats if stat.st_dev != disk)


def _place(file: _File, folder: Path) -> str:
    """Install one file into `folder`; returns its checksum."""
    target = folder / file.name
    _make_folders(folder, target.parent)
    index = file.index
    if index is not None and index != read_object(file.source):
        return write_text(target, json.dumps(index, indent=2) + "\n", LocalDisk())
    _link_or_copy(file.source.resolve(), target)
    with target.open("rb") as stream:
        os.fsync(stream.fileno())
    return file.sha256


def _make_folders(folder: Path, inner: Path) -> None:
    """Folders down to `inner`, readable by everyone as all installed files are: services may run as another user."""
    for parent in (*reversed(inner.relative_to(folder).parents), inner.relative_to(folder)):
        (folder / parent).mkdir(exist_ok=True)
        (folder / parent).chmod(0o755)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
        target.chmod(0o644)
    except OSError:  # another disk, a file system without links, or a file of another user
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o644)


def _add_tokenizers(folder: Path) -> dict[str, str]:
    """Write the missing tokenizer.json of each tokenizer; returns their checksums."""
    sums: dict[str, str] = {}
    for inner in sorted(path for path in folder.iterdir() if path.is_dir() and not (path / TOKENIZER_FILE).exists()):
        tokenizer = fast_tokenizer(inner)
        if tokenizer is not None:
            name = f"{inner.name}/{TOKENIZER_FILE}"
            sums[name] = write_text(folder / name, tokenizer.to_str(), LocalDisk())
    return sums
