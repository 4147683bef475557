"""Which files were pulled: commit, size and checksum of each, in <weights_dir>/<preset>.lock.json.

Later pulls of the preset use the same commit, even if the branch has moved. Knows no network.
"""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from core.model.checksums import file_sha256
from core.model.convert.summary import DtypeName
from core.service.domain.errors import DownloadDamaged
from core.whole_files import write_whole


class FilePin(BaseModel):
    """One file. The Hub announces one of the two hashes; after the download `sha256` is always set."""

    model_config = ConfigDict(frozen=True)

    size: int
    sha256: str | None = None
    git_sha1: str | None = None

    def check(self, file: Path) -> "FilePin":
        """The pin with its SHA-256, if size and hashes of `file` match. Raises DownloadDamaged."""
        if file.stat().st_size != self.size:
            raise DownloadDamaged(f"{file} has {file.stat().st_size} bytes, not {self.size}")
        digest = file_sha256(file)
        if self.sha256 not in {None, digest} or self.git_sha1 not in {None, _git_sha1(file)}:
            raise DownloadDamaged(f"{file} has another checksum than the Hub announced")
        return self.model_copy(update={"sha256": digest})


class RepositoryPin(BaseModel):
    """Files of one repository. `commit` None: put in place by hand, without a description from the Hub."""

    model_config = ConfigDict(frozen=True)

    revision: str
    commit: str | None = None
    files: dict[str, FilePin]


class Pins(BaseModel):
    """All repositories of a preset, and the dtype that their weights were installed in."""

    model_config = ConfigDict(frozen=True)

    dtype: DtypeName | None = None
    repositories: dict[str, RepositoryPin] = {}

    def with_repository(self, name: str, pin: RepositoryPin) -> "Pins":
        return self.model_copy(update={"repositories": {**self.repositories, name: pin}})

    def with_dtype(self, dtype: DtypeName) -> "Pins":
        return self.model_copy(update={"dtype": dtype})

    def write(self, file: Path) -> None:
        """Write atomically: readers see the old pins or the new ones."""
        write_whole(file, (self.model_dump_json(indent=2, exclude_none=True) + "\n").encode())


def read_pins(file: Path) -> Pins:
    """The pins of a file; none if it does not exist. Raises DownloadDamaged if it cannot be parsed."""
    if not file.exists():
        return Pins()
    try:
        return Pins.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise DownloadDamaged(f"{file} is not a lock file of a pull", fix="remove it and pull again") from error


def _git_sha1(file: Path) -> str:
    """git's blob hash of a file, SHA-1 in hex."""
    digest = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: digest).hexdigest()
