"""All files of a pull, downloaded and verified at pinned commits.

The pins of a preset are one file; `originals.py` handles the files of each repository.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.model.convert.summary import Report
from core.model.hub.originals import Hub, Originals
from core.model.hub.pins import RepositoryPin, read_pins
from core.service.admission.catalog import PresetFolder
from core.service.domain.errors import HubUnreachable
from core.service.engines.preset import HubFiles


@dataclass(frozen=True)
class PinnedFiles:
    """The verified files of one repository, by their names in it."""

    files: Mapping[str, Path]
    sums: Mapping[str, str]
    """Hex SHA-256."""


def lock_file(folder: PresetFolder) -> Path:
    """The file of a preset's pins."""
    return folder.weights.with_name(f"{folder.weights.name}.lock.json")


def fetch_pinned(
    folder: PresetFolder, sources: Sequence[HubFiles], command: str, hub: Hub, report: Report
) -> dict[HubFiles, PinnedFiles]:
    """All files of `sources`. Raises HubUnreachable that names the missing files and `command`, which gets them."""
    downloads, lock = folder.weights.parent / "downloads", lock_file(folder)
    all_originals = [Originals(hub, downloads, source) for source in sources]
    try:
        # All pins before the first download, so that a wrong name is reported at once.
        pins = [_pin(lock, originals) for originals in all_originals]
        return {
            originals.wanted: _fetched(lock, originals, pin, report)
            for originals, pin in zip(all_originals, pins, strict=True)
        }
    except HubUnreachable as error:
        raise HubUnreachable(
            _missing_files(error, folder, all_originals),
            fix=f"with a network run `{command}`, or put the files there and run it again",
        ) from error


def _fetched(lock: Path, originals: Originals, pin: RepositoryPin, report: Report) -> PinnedFiles:
    originals.fetch(pin, report)
    verified = originals.verify(pin, report)
    _store_pin(lock, originals, verified)
    return PinnedFiles(originals.files, {name: str(verified.files[name].sha256) for name in originals.files})


def _pin(lock: Path, originals: Originals) -> RepositoryPin:
    """The stored pin, or a new one from the Hub, which is stored: a resumed download uses the same commit."""
    wanted = originals.wanted
    stored = read_pins(lock).repositories.get(wanted.repository)
    if stored is not None and _covers(stored, originals):
        return stored
    at_commit = wanted.model_copy(update={"revision": _commit_or_revision(stored, wanted)})
    pin = replace(originals, wanted=at_commit).pin()
    return _store_pin(lock, originals, pin.model_copy(update={"revision": wanted.revision}))


def _commit_or_revision(stored: RepositoryPin | None, wanted: HubFiles) -> str:
    """What to ask the Hub for: further files of a pinned repository are those of its pinned commit."""
    is_pinned = stored is not None and wanted.revision in {stored.revision, stored.commit}
    return stored.commit or wanted.revision if stored is not None and is_pinned else wanted.revision


def _store_pin(lock: Path, originals: Originals, pin: RepositoryPin) -> RepositoryPin:
    """Store the pin; pins of the same commit for other files stay. Returns the pin with all of them."""
    pins, name = read_pins(lock), originals.wanted.repository
    before = pins.repositories.get(name)
    others = before.files if before is not None and before.commit == pin.commit else {}
    merged = pin.model_copy(update={"files": {**others, **pin.files}})
    pins.with_repository(name, merged).write(lock)
    return merged


def _covers(pin: RepositoryPin, originals: Originals) -> bool:
    """Whether a stored pin has the requested files and revision, and a commit to download what is missing."""
    wanted = originals.wanted
    same = wanted.revision in {pin.revision, pin.commit} and set(wanted.files) <= pin.files.keys()
    return same and (pin.commit is not None or not originals.missing)


def _missing_files(error: HubUnreachable, folder: PresetFolder, all_originals: Sequence[Originals]) -> str:
    files = [str(file) for originals in all_originals for file in originals.missing]
    return f"{error.message}; {folder.path.name} still needs {', '.join(files)}"
