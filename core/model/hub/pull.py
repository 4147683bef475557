"""Pulling a preset: its files from the Hub, verified against pins, become a weights folder that is there as a whole.

An interrupted pull goes on where it stopped. Knows the order of things; each of them is done elsewhere.
"""

import fcntl
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from core.model.checksums import SUMS_FILE, format_sums, read_sums
from core.model.convert.disk import LocalDisk
from core.model.convert.output_folder import appearing_folder
from core.model.convert.shards import write_part, write_text
from core.model.convert.streaming_t2v import convert_checkpoint
from core.model.convert.summary import DtypeName
from core.model.hub.base_model import base_unet, clip_tokenizer
from core.model.hub.originals import Hub, Originals, Report
from core.model.hub.pins import RepositoryPin, read_pins
from core.model.hub.repository import HuggingFaceHub
from core.service.catalog import Download, PresetFolder
from core.service.errors import HubUnreachable, SetupError

LOOK_AGAIN_SECONDS = 0.5


def pull(
    preset: PresetFolder,
    *,
    report: Report,
    revision: str | None = None,
    dtype: DtypeName | None = None,
    hub: Hub | None = None,
) -> Path:
    """Install the weights of `preset` and return their folder; nothing is done where they are installed.

    `revision` replaces the preset's for the method's checkpoint; `dtype` is that of the weights on the disk (None:
    float32). Raises SetupError for a preset that is shipped whole, or is installed of another revision or dtype than is
    asked for; DownloadError; ConversionError.
    """
    if preset.facts.download is None:
        raise SetupError(f"{preset.path.name} is shipped with its weights: there is nothing to pull")
    download = _at_revision(preset.facts.download, revision)
    with _only_one(preset.weights.with_name(f".{preset.weights.name}.lock"), report):
        if preset.installed:
            _check_same(preset, download, revision, dtype)
            return preset.weights
        checkpoint, base = _originals(preset, download, hub or HuggingFaceHub(), report)
        read_pins(lock_file(preset)).with_dtype(dtype or "float32").write(lock_file(preset))
        _install(preset.weights, checkpoint, base, dtype or "float32", report)
    return preset.weights


def lock_file(preset: PresetFolder) -> Path:
    """Where the pins of a preset are."""
    return preset.weights.with_name(f"{preset.weights.name}.lock.json")


def _at_revision(download: Download, revision: str | None) -> Download:
    if revision is None:
        return download
    return download.model_copy(update={"checkpoint": download.checkpoint.model_copy(update={"revision": revision})})


def _check_same(preset: PresetFolder, download: Download, revision: str | None, dtype: DtypeName | None) -> None:
    """A wish for something else than is installed is refused, not overlooked."""
    pins = read_pins(lock_file(preset))
    pin = pins.repositories.get(download.checkpoint.repository)
    if revision is not None and (pin is None or revision not in {pin.revision, pin.commit}):
        other = "an unknown revision" if pin is None else f"revision {pin.revision} ({pin.commit})"
    elif dtype not in {None, pins.dtype}:
        other = f"{pins.dtype} weights"
    else:
        return
    raise SetupError(f"{preset.weights} is installed with {other}", fix="remove that folder, then pull again")


def _originals(preset: PresetFolder, download: Download, hub: Hub, report: Report) -> tuple[Originals, Originals]:
    """All files, in place and verified. Raises HubUnreachable that says which are missing and how to get them."""
    downloads = preset.weights.parent / "downloads"
    checkpoint, base = (Originals(hub, downloads, source) for source in download.sources)
    try:
        for originals in (base, checkpoint):  # small ones first: a wrong name is noticed before hours of download
            _get(lock_file(preset), originals, report)
    except HubUnreachable as error:
        raise HubUnreachable(_what_is_missing(error, preset, (checkpoint, base)), fix=_how(preset)) from error
    return checkpoint, base


def _get(lock: Path, originals: Originals, report: Report) -> None:
    """Pin, fetch, verify. The pin is written before the first byte comes: what continues later is the same commit."""
    repository = originals.wanted.repository
    kept = read_pins(lock).repositories.get(repository)
    pin = kept if kept is not None and _answers(kept, originals) else originals.pin()
    read_pins(lock).with_repository(repository, pin).write(lock)
    originals.fetch(pin, report)
    read_pins(lock).with_repository(repository, originals.verify(pin, report)).write(lock)


def _answers(pin: RepositoryPin, originals: Originals) -> bool:
    """Whether a kept pin is of what is asked for now, and tells where to get it."""
    wanted = originals.wanted
    same = wanted.revision in {pin.revision, pin.commit} and set(wanted.files) <= pin.files.keys()
    return same and (pin.commit is not None or not originals.missing)


def _what_is_missing(error: HubUnreachable, preset: PresetFolder, all_originals: tuple[Originals, ...]) -> str:
    files = [str(file) for originals in all_originals for file in originals.missing]
    return f"{error.message}; {preset.path.name} still needs {', '.join(files)}"


def _how(preset: PresetFolder) -> str:
    return f"with a network run `{preset.install_command}`, or put the files there and run it again"


def _install(weights: Path, checkpoint: Originals, base: Originals, dtype: DtypeName, report: Report) -> None:
    """Convert the originals into `weights`; the base keeps the dtype that it is published in.

    Raises ConversionError; then nothing is left of it.
    """
    unet, tokenizer = base_unet(base.files), clip_tokenizer(base.files)
    (source,) = checkpoint.files.values()
    disk = LocalDisk()
    own_dtype = next(iter(unet.tensors.values())).dtype
    num_bytes = unet.num_parameters * own_dtype.itemsize
    with appearing_folder(weights, num_bytes, disk) as folder:
        sums = _convert_into(folder, source, dtype, report)
        own = write_part(unet, folder / unet.name, own_dtype, disk, _meter(unet.name, num_bytes, report))
        sums.update({f"{unet.name}/{file}": digest for file, digest in own.items()})
        (folder / "tokenizer").mkdir()
        sums["tokenizer/tokenizer.json"] = write_text(folder / "tokenizer" / "tokenizer.json", tokenizer.to_str(), disk)
        write_text(folder / SUMS_FILE, format_sums(sums), disk)


def _convert_into(folder: Path, source: Path, dtype: DtypeName, report: Report) -> dict[str, str]:
    """The parts of the method's checkpoint, in `folder`; the checksums of their files."""
    converted = folder / "converted"
    convert_checkpoint(source, converted, dtype=dtype, report=report)
    sums = read_sums(converted)
    (converted / SUMS_FILE).unlink()
    for part in converted.iterdir():
        part.rename(folder / part.name)
    converted.rmdir()
    return sums


def _meter(phase: str, total: int, report: Report) -> Callable[[int], None]:
    """Tells `report` of bytes as they are written."""
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done = min(done + count, total)  # the header counts, too
        report(phase, done, total)

    return add


@contextmanager
def _only_one(lock: Path, report: Report) -> Generator[None]:
    """Of several processes that need the preset one pulls; the others wait and find it installed."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                report("another process pulls it", 0, 1)
                time.sleep(LOOK_AGAIN_SECONDS)
        yield
