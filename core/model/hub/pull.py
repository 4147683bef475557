"""Pull a preset: download its files from the Hub, verify them against pins, install them as a weights folder.

An interrupted pull resumes. This module holds the sequence of steps; other modules do each of them.
"""

import fcntl
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from core.model.convert.summary import DtypeName, Report
from core.model.hub.install import OriginalFiles, install, install_refiner
from core.model.hub.originals import Hub, Originals
from core.model.hub.pins import RepositoryPin, read_pins
from core.model.hub.repository import HuggingFaceHub
from core.service.admission.catalog import PresetFolder
from core.service.domain.errors import HubUnreachable, SetupError
from core.service.engines.preset import Download, HubFiles

LOCK_POLL_SECONDS = 0.5


def pull(
    folder: PresetFolder,
    *,
    report: Report,
    refiner: bool = False,
    revision: str | None = None,
    dtype: DtypeName | None = None,
    hub: Hub | None = None,
) -> Path:
    """Install the weights of `folder`, unless they are installed; returns the weights folder.

    `report(phase, done_bytes, total_bytes)`: what it raises ends the pull; downloaded bytes are kept.
    `refiner`: install its refiner, too, now or later. `revision`: of the method's checkpoint, instead of the preset's.
    `dtype` of the stored weights; None: float32, for an added refiner the dtype of the installed weights. Raises
    SetupError if the preset is shipped with its weights, has no refiner to pull, is installed with another revision or
    dtype, or if the weights folder cannot be created; DownloadError; ConversionError.
    """
    download = _at_revision(_download(folder, refiner), revision)
    with _pull_lock(folder.weights.with_name(f".{folder.weights.name}.pull.lock"), report):
        if folder.installed:
            _check_same(folder, download, revision, dtype)
        extra = download.refiner if refiner and not folder.refiner_weights.is_dir() else None
        wanted = (*(() if folder.installed else download.needed), *((extra,) if extra else ()))
        files = _originals(folder, wanted, hub or HuggingFaceHub(), report)
        if not folder.installed:
            read_pins(lock_file(folder)).with_dtype(dtype or "float32").write(lock_file(folder))
            originals = OriginalFiles(files[download.base], files[download.checkpoint])
            install(folder.weights, originals, dtype or "float32", report)
        if extra is not None:
            own_dtype = dtype or read_pins(lock_file(folder)).dtype or "float32"
            install_refiner(folder.weights, files[extra], own_dtype, report)
    return folder.weights


def lock_file(folder: PresetFolder) -> Path:
    """The file of a preset's pins."""
    return folder.weights.with_name(f"{folder.weights.name}.lock.json")


def _download(folder: PresetFolder, refiner: bool) -> Download:
    """The `download` block of preset.json. Raises SetupError if it lacks what was requested."""
    download = folder.preset.download
    if download is None:
        raise SetupError(f"{folder.path.name} is shipped with its weights: there is nothing to pull")
    if refiner and download.refiner is None:
        raise SetupError(f"{folder.path.name} names no refiner to pull", fix="leave --refiner out")
    return download


def _at_revision(download: Download, revision: str | None) -> Download:
    if revision is None:
        return download
    return download.model_copy(update={"checkpoint": download.checkpoint.model_copy(update={"revision": revision})})


def _check_same(folder: PresetFolder, download: Download, revision: str | None, dtype: DtypeName | None) -> None:
    """Raises SetupError if another revision or dtype than the requested one is installed."""
    pins = read_pins(lock_file(folder))
    pin = pins.repositories.get(download.checkpoint.repository)
    if revision is not None and (pin is None or revision not in {pin.revision, pin.commit}):
        other = "an unknown revision" if pin is None else f"revision {pin.revision} ({pin.commit})"
    elif dtype not in {None, pins.dtype}:
        other = f"{pins.dtype} weights"
    else:
        return
    raise SetupError(f"{folder.weights} is installed with {other}", fix="remove that folder, then pull again")


def _originals(
    folder: PresetFolder, sources: Sequence[HubFiles], hub: Hub, report: Report
) -> dict[HubFiles, Mapping[str, Path]]:
    """All files, downloaded and verified. Raises HubUnreachable that names the missing files and how to get them."""
    downloads = folder.weights.parent / "downloads"
    all_originals = [Originals(hub, downloads, source) for source in sources]
    lock = lock_file(folder)
    try:
        # All pins before the first download, so that a wrong name is reported at once.
        pins = [_pin(lock, originals) for originals in all_originals]
        for originals, pin in zip(all_originals, pins, strict=True):
            originals.fetch(pin, report)
            _store_pin(lock, originals, originals.verify(pin, report))
    except HubUnreachable as error:
        raise HubUnreachable(
            _missing_files(error, folder, all_originals), fix=_how_to_get_them(folder, sources)
        ) from error
    return {originals.wanted: originals.files for originals in all_originals}


def _pin(lock: Path, originals: Originals) -> RepositoryPin:
    """The stored pin, or a new one from the Hub, which is stored: a resumed download uses the same commit."""
    stored = read_pins(lock).repositories.get(originals.wanted.repository)
    if stored is not None and _covers(stored, originals):
        return stored
    return _store_pin(lock, originals, originals.pin())


def _store_pin(lock: Path, originals: Originals, pin: RepositoryPin) -> RepositoryPin:
    read_pins(lock).with_repository(originals.wanted.repository, pin).write(lock)
    return pin


def _covers(pin: RepositoryPin, originals: Originals) -> bool:
    """Whether a stored pin has the requested files and revision, and a commit to download what is missing."""
    wanted = originals.wanted
    same = wanted.revision in {pin.revision, pin.commit} and set(wanted.files) <= pin.files.keys()
    return same and (pin.commit is not None or not originals.missing)


def _missing_files(error: HubUnreachable, folder: PresetFolder, all_originals: Sequence[Originals]) -> str:
    files = [str(file) for originals in all_originals for file in originals.missing]
    return f"{error.message}; {folder.path.name} still needs {', '.join(files)}"


def _how_to_get_them(folder: PresetFolder, sources: Sequence[HubFiles]) -> str:
    with_refiner = folder.preset.download is not None and folder.preset.download.refiner in sources
    command = folder.refiner_command if with_refiner else folder.install_command
    return f"with a network run `{command}`, or put the files there and run it again"


@contextmanager
def _pull_lock(lock: Path, report: Report) -> Generator[None]:
    """A lock between processes: one pulls the preset, the others wait and find it installed.

    Raises SetupError if the folder of all weights cannot be created or written.
    """
    with _opened(lock) as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                report("another process pulls it", 0, 1)
                time.sleep(LOCK_POLL_SECONDS)
        yield


def _opened(lock: Path) -> TextIO:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return lock.open("w")
    except OSError as error:
        raise SetupError(
            f"the weights folder {lock.parent} cannot be used: {error.strerror}",
            fix="set LONGTAKE_WEIGHTS_DIR to a folder that you may write",
        ) from error
