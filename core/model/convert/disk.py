"""The file system that a conversion writes to, as a port: free space, and new files."""

import os
import shutil
from pathlib import Path
from typing import BinaryIO, Protocol


class Disk(Protocol):
    """Storage for converted weights."""

    def free_bytes(self, folder: Path) -> int:
        """Bytes free for this user on the disk of an existing folder."""
        ...

    def create(self, path: Path) -> BinaryIO:
        """A new file, open for writing. Writes may raise OSError (ENOSPC, EDQUOT: full)."""
        ...


class LocalDisk:
    """The machine's own file system."""

    def free_bytes(self, folder: Path) -> int:
        return shutil.disk_usage(folder).free

    def create(self, path: Path) -> BinaryIO:
        """Readable by everyone regardless of the umask: services may run as another user."""
        file = path.open("xb")
        os.fchmod(file.fileno(), 0o644)
        return file
