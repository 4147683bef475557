"""Pull a preset: download its files from the Hub, verify them against pins, install them as a weights folder.

An interrupted pull resumes. This module holds the sequence of steps; other modules do each of them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.model.convert.summary import DtypeName, Report
from core.model.hub.originals import Hub
from core.model.hub.pinned_files import fetch_pinned, lock_file
from core.model.hub.pins import read_pins
from core.model.hub.pipeline_folder import install_part, install_pipeline
from core.model.hub.pull_lock import pull_lock
from core.model.hub.repository import HuggingFaceHub
from core.quick_imports import quick_imports
from core.service.admission.catalog import PresetFolder
from core.service.domain.errors import SetupError
from core.service.engines.preset import Download, HubFiles, PipelineDownload, PipelineFiles


@dataclass(frozen=True)
class _Options:
    """What a pull is asked for, beside the preset."""

    refiner: bool
    parts: Collection[str]
    revision: str | None
    dtype: DtypeName | None


def pull(
    folder: PresetFolder,
    *,
    report: Report,
    refiner: bool = False,
    parts: Collection[str] = (),
    revision: str | None = None,
    dtype: DtypeName | None = None,
    hub: Hub | None = None,
) -> Path:
    """Install the weights of `folder`, unless they are installed; returns the weights folder.

    `report(phase, done_bytes, total_bytes)`: what it raises ends the pull; downloaded bytes are kept.
    `refiner`, `parts` (keys of `optional`): install them, too, now or later. `revision`: of the method's checkpoint or
    of the pipeline's repository, instead of the preset's. `dtype` of converted weights; None: float32, for an added
    refiner the dtype of the installed weights. Raises SetupError if the preset is shipped with its weights, has not
    what is asked for, is installed with another revision or dtype, or if the weights folder cannot be created;
    DownloadError; ConversionError.
    """
    download, options = folder.preset.download, _Options(refiner, parts, revision, dtype)
    if download is None:
        raise SetupError(f"{folder.path.name} is shipped with its weights: there is nothing to pull")
    _check_options(folder, download, options)
    with pull_lock(folder.weights.with_name(f".{folder.weights.name}.pull.lock"), report):
        if folder.installed:
            _check_same(folder, download, options)
        if isinstance(download, PipelineDownload):
            _pull_pipeline(folder, _pipeline_at(download, revision), parts, hub or HuggingFaceHub(), report)
        else:
            _pull_converted(folder, _checkpoint_at(download, revision), options, hub or HuggingFaceHub(), report)
    return folder.weights


def _pull_converted(folder: PresetFolder, download: Download, options: _Options, hub: Hub, report: Report) -> None:
    extra = download.refiner if options.refiner and not folder.refiner_weights.is_dir() else None
    wanted = (*(() if folder.installed else download.needed), *((extra,) if extra else ()))
    command = folder.refiner_command if extra else folder.install_command
    files, lock = fetch_pinned(folder, wanted, command, hub, report), lock_file(folder)
    if not wanted:
        return
    # Here, because diffusers takes seconds to import: a pull that only looks, or finds no network, says so at once.
    with quick_imports():
        from core.model.hub.install import OriginalFiles, install, install_refiner

    if not folder.installed:
        dtype = options.dtype or "float32"
        read_pins(lock).with_dtype(dtype).write(lock)
        originals = OriginalFiles(files[download.base].files, files[download.checkpoint].files)
        install(folder.weights, originals, dtype, report)
    if extra is not None:
        own_dtype = options.dtype or read_pins(lock).dtype or "float32"
        install_refiner(folder.weights, files[extra].files, own_dtype, report)


def _pull_pipeline(
    folder: PresetFolder, download: PipelineDownload, parts: Collection[str], hub: Hub, report: Report
) -> None:
    needed: Sequence[PipelineFiles] = () if folder.installed else download.repositories
    extra = [download.optional[part] for part in dict.fromkeys(parts) if part not in folder.installed_parts]
    wanted: list[HubFiles] = [*needed, *extra]
    files = fetch_pinned(folder, wanted, folder.pull_command(parts), hub, report)
    if needed:
        install_pipeline(folder.weights, {source: files[source] for source in needed}, report)
    for part in extra:
        install_part(folder.weights, part, files[part], report)


def _check_options(folder: PresetFolder, download: Download | PipelineDownload, options: _Options) -> None:
    """Raises SetupError for options that this preset has not."""
    name = folder.path.name
    is_pipeline = isinstance(download, PipelineDownload)
    if options.refiner and (is_pipeline or download.refiner is None):
        raise SetupError(f"{name} names no refiner to pull", fix="leave --refiner out")
    if options.dtype is not None and is_pipeline:
        raise SetupError(
            f"the weights of {name} are installed as published, not converted to {options.dtype}",
            fix="leave --dtype out; `gpu_dtype` in its preset.json is the type to compute in",
        )
    known = download.optional if is_pipeline else {}
    unknown = [part for part in options.parts if part not in known]
    if unknown:
        fix = f"use one of: {', '.join(known)}" if known else "leave --with out"
        raise SetupError(f"{name} names no part {unknown[0]} to pull", fix=fix)


def _checkpoint_at(download: Download, revision: str | None) -> Download:
    if revision is None:
        return download
    return download.model_copy(update={"checkpoint": download.checkpoint.model_copy(update={"revision": revision})})


def _pipeline_at(download: PipelineDownload, revision: str | None) -> PipelineDownload:
    """`revision` is that of the first repository."""
    if revision is None:
        return download
    first, *others = download.repositories
    return download.model_copy(update={"repositories": (first.model_copy(update={"revision": revision}), *others)})


def _check_same(folder: PresetFolder, download: Download | PipelineDownload, options: _Options) -> None:
    """Raises SetupError if another revision or dtype than the requested one is installed."""
    pins = read_pins(lock_file(folder))
    main = download.repositories[0] if isinstance(download, PipelineDownload) else download.checkpoint
    pin = pins.repositories.get(main.repository)
    if options.revision is not None and (pin is None or options.revision not in {pin.revision, pin.commit}):
        other = "an unknown revision" if pin is None else f"revision {pin.revision} ({pin.commit})"
    elif options.dtype not in {None, pins.dtype}:
        other = f"{pins.dtype} weights"
    else:
        return
    raise SetupError(f"{folder.weights} is installed with {other}", fix="remove that folder, then pull again")
