"""Files of the Hub, unchanged, in <weights_dir>/downloads/ORG/NAME: downloaded, resumed, verified.

Files put there by hand are used as well, for machines without a network. Knows no preset and no file format.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.model.convert.summary import Report
from core.model.hub.pins import FilePin, RepositoryPin
from core.service.domain.errors import DownloadDamaged, HubUnreachable, SetupError
from core.service.engines.preset import HubFiles

OnBytes = Callable[[int], None]
"""Called with the number of new bytes. What it raises ends the download; downloaded bytes are kept."""


class Hub(Protocol):
    """The Hugging Face Hub."""

    def describe(self, wanted: HubFiles) -> RepositoryPin:
        """The commit of the revision now, and size and checksum of its files. Raises HubUnreachable, HubFileMissing."""
        ...

    def fetch(self, repository: str, commit: str, name: str, into: Path, on_bytes: OnBytes) -> None:
        """Append the missing rest of a file to `into`. Raises HubUnreachable, HubFileMissing."""
        ...


@dataclass(frozen=True)
class Originals:
    """One repository's files on this machine."""

    hub: Hub
    downloads: Path
    wanted: HubFiles

    @property
    def files(self) -> Mapping[str, Path]:
        """The path of each file, whether or not it exists."""
        return {name: self.downloads / self.wanted.repository / name for name in self.wanted.files}

    @property
    def missing(self) -> list[Path]:
        return [file for file in self.files.values() if not file.is_file()]

    def pin(self) -> RepositoryPin:
        """Commit, sizes and checksums from the Hub; if it cannot be reached and all files are in place, their sizes.

        Raises HubUnreachable, HubFileMissing.
        """
        try:
            return self.hub.describe(self.wanted)
        except HubUnreachable:
            if self.missing:
                raise
            sizes = {name: FilePin(size=file.stat().st_size) for name, file in self.files.items()}
            return RepositoryPin(revision=self.wanted.revision, commit=None, files=sizes)

    def fetch(self, pin: RepositoryPin, report: Report) -> None:
        """Download missing files, resuming interrupted downloads. Raises DownloadError, SetupError."""
        self._check_disk_space(pin)
        for name, file in self.files.items():
            if not file.is_file():
                self._fetch(name, file, pin, report)

    def verify(self, pin: RepositoryPin, report: Report) -> RepositoryPin:
        """The pin with the verified checksums of all files.

        Raises DownloadDamaged. A wrong file is renamed, not removed: it may have been put there by hand.
        """
        checked: dict[str, FilePin] = {}
        for name, file in self.files.items():
            report(f"verify {file.name}", 0, pin.files[name].size)
            try:
                checked[name] = pin.files[name].check(file)
            except DownloadDamaged as error:
                aside = file.replace(file.with_name(f"{file.name}.damaged"))
                raise DownloadDamaged(
                    f"{error.message}; it is now {aside.name}", fix="pull again: only this file is downloaded again"
                ) from error
            report(f"verify {file.name}", pin.files[name].size, pin.files[name].size)
        return pin.model_copy(update={"files": checked})

    def _fetch(self, name: str, file: Path, pin: RepositoryPin, report: Report) -> None:
        if pin.commit is None:
            raise HubUnreachable(f"{file} was put in place by hand and is gone")
        part, total = _part(file), pin.files[name].size
        if _size(part) > total:
            part.unlink()  # not a part of this file
        done = _size(part)

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            report(file.name, done, total)

        self.hub.fetch(self.wanted.repository, pin.commit, name, part, on_bytes)
        part.rename(file)

    def _check_disk_space(self, pin: RepositoryPin) -> None:
        """Before the download starts, which may take hours. Raises SetupError."""
        self.downloads.mkdir(parents=True, exist_ok=True)
        present = [_size(file) + _size(_part(file)) for file in self.files.values()]
        wanted = sum(pin.files[name].size for name in self.files) - sum(present)
        free = shutil.disk_usage(self.downloads).free
        if wanted > free:
            raise SetupError(
                f"{wanted / 1e9:.1f} GB are to be downloaded to {self.downloads}, which has {free / 1e9:.1f} GB free",
                fix="free some space, or set LONGTAKE_WEIGHTS_DIR to a folder on another disk",
            )


def _part(file: Path) -> Path:
    """The file that holds an incomplete download."""
    return file.with_name(f"{file.name}.part")


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0
