"""Pull a preset: its files from the Hub, verified against pins, become a weights folder that appears as a whole.

An interrupted pull goes on where it stopped. Knows the order of things; each of them is done elsewhere.
"""

import fcntl
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from core.model.convert.summary import DtypeName
from core.model.hub.install import OriginalFiles, install, install_refiner
from core.model.hub.originals import Hub, Originals, Report
from core.model.hub.pins import RepositoryPin, read_pins
from core.model.hub.repository import HuggingFaceHub
from core.service.admission.catalog import PresetFolder
from core.service.domain.errors import HubUnreachable, SetupError
from core.service.engines.preset import Download, HubFiles

LOOK_AGAIN_SECONDS = 0.5


def pull(
    folder: PresetFolder,
    *,
    report: Report,
    refiner: bool = False,
    revision: str | None = None,
    dtype: DtypeName | None = None,
    hub: Hub | None = None,
) -> Path:
    """Install the weights of `folder` and return their folder; nothing is done where they are installed.

    `refiner`: also its refiner, which may be added later; both appear whole or not at all, one after the other.
    `revision` replaces the preset's for the method's checkpoint; `dtype` is that of the weights on the disk (None:
    float32, for a refiner that is added the weights' own). Raises SetupError for a preset that is shipped whole, names
    no refiner to pull, or is installed of another revision or dtype than is asked for, and where the weights folder
    cannot be made; DownloadError; ConversionError.
    """
    download = _at_revision(_download(folder, refiner), revision)
    with _only_one(folder.weights.with_name(f".{folder.weights.name}.pull.lock"), report):
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
    """Where the pins of a preset are."""
    return folder.weights.with_name(f"{folder.weights.name}.lock.json")


def _download(folder: PresetFolder, refiner: bool) -> Download:
    """What preset.json says of the Hub. Raises SetupError where it does not have what is asked for."""
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
    """A wish for something else than is installed is refused, not overlooked."""
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
    """All files, in place and verified. Raises HubUnreachable that says which are missing and how to get them."""
    downloads = folder.weights.parent / "downloads"
    all_originals = [Originals(hub, downloads, source) for source in sources]
    lock = lock_file(folder)
    try:
        # All pins before the first byte: a wrong name is noticed at once, not after hours of downloading.
        pins = [_pin(lock, originals) for originals in all_originals]
        for originals, pin in zip(all_originals, pins, strict=True):
            originals.fetch(pin, report)
            _keep(lock, originals, originals.verify(pin, report))
    except HubUnreachable as error:
        raise HubUnreachable(_what_is_missing(error, folder, all_originals), fix=_how(folder, sources)) from error
    return {originals.wanted: originals.files for originals in all_originals}


def _pin(lock: Path, originals: Originals) -> RepositoryPin:
    """The kept pin, or what the Hub says now, which is kept: what is continued later is the same commit."""
    kept = read_pins(lock).repositories.get(originals.wanted.repository)
    if kept is not None and _answers(kept, originals):
        return kept
    return _keep(lock, originals, originals.pin())


def _keep(lock: Path, originals: Originals, pin: RepositoryPin) -> RepositoryPin:
    read_pins(lock).with_repository(originals.wanted.repository, pin).write(lock)
    return pin


def _answers(pin: RepositoryPin, originals: Originals) -> bool:
    """Whether a kept pin is of what is asked for now, and tells where to get it."""
    wanted = originals.wanted
    same = wanted.revision in {pin.revision, pin.commit} and set(wanted.files) <= pin.files.keys()
    return same and (pin.commit is not None or not originals.missing)


def _what_is_missing(error: HubUnreachable, folder: PresetFolder, all_originals: Sequence[Originals]) -> str:
    files = [str(file) for originals in all_originals for file in originals.missing]
    return f"{error.message}; {folder.path.name} still needs {', '.join(files)}"


def _how(folder: PresetFolder, sources: Sequence[HubFiles]) -> str:
    with_refiner = folder.preset.download is not None and folder.preset.download.refiner in sources
    command = folder.refiner_command if with_refiner else folder.install_command
    return f"with a network run `{command}`, or put the files there and run it again"


@contextmanager
def _only_one(lock: Path, report: Report) -> Generator[None]:
    """Of several processes that need the preset one pulls; the others wait and find it installed.

    Raises SetupError where the folder of all weights cannot be made or written.
    """
    with _opened(lock) as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                report("another process pulls it", 0, 1)
                time.sleep(LOOK_AGAIN_SECONDS)
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
