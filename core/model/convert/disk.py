"""The disk that a conversion writes to, as a port: how much is free, and a new file. Knows no format."""

import os
import shutil
from pathlib import Path
from typing import BinaryIO, Protocol


class Disk(Protocol):
    """Where converted weights go."""

    def free_bytes(self, folder: Path) -> int:
        """Room for this user on the disk of an existing folder."""
        ...

    def create(self, path: Path) -> BinaryIO:
        """A new file to write. Its writes may raise OSError (ENOSPC, EDQUOT: full)."""
        ...


class LocalDisk:
    """The machine's own file system."""

    def free_bytes(self, folder: Path) -> int:
        return shutil.disk_usage(folder).free

    def create(self, path: Path) -> BinaryIO:
        """Readable by everyone whatever the umask: services run under other users than the person who converts."""
        file = path.open("xb")
        os.fchmod(file.fileno(), 0o644)
        return file
