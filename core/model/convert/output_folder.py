"""A folder that is created atomically: complete or not at all.

It is written as `.NAME.part` in the same parent, flushed to disk, and renamed. A failed or interrupted writer removes
it; the next writer clears what a killed one left (a lock on `.NAME.lock` shows whether a writer is running).
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from core.model.convert.disk import Disk
from core.service.domain.errors import OutputDiskFull, OutputRefused

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_folder(out: Path, num_bytes: int, disk: Disk) -> Generator[Path]:
    """A folder to fill within the block; renamed to `out` if the block ends without an error.

    Raises OutputRefused if `out` is not empty, is being written by another conversion, or is not writable;
    OutputDiskFull if `num_bytes` do not fit.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputRefused(
            f"{out} exists and is not an empty folder", fix="give a new folder, or remove what is there"
        )
    created = _missing_parents(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _check_room(out.parent, num_bytes, disk)
        yield from _filled(out)
    except BaseException as error:
        for folder in created:
            _remove_if_empty(folder)
        if isinstance(error, OSError):
            raise _as_output_error(error, out) from error
        raise


def _missing_parents(out: Path) -> list[Path]:
    """Folders above `out` that do not exist yet, innermost first."""
    return [folder for folder in out.parents if not folder.exists()]


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _check_room(parent: Path, num_bytes: int, disk: Disk) -> None:
    free = disk.free_bytes(parent)
    if free < num_bytes:
        raise OutputDiskFull(
            f"{num_bytes / 1e9:.2f} GB are to be written to {parent}, which has {free / 1e9:.2f} GB free",
            fix="free some space, or choose a folder on another disk, or a smaller --dtype",
        )


def _filled(out: Path) -> Generator[Path]:
    """The folder under its temporary name; renamed at the end, removed on an error."""
    part = out.with_name(f".{out.name}.part")
    with _exclusive_lock(part.with_suffix(".lock"), out):
        if part.exists():  # a killed writer's
            shutil.rmtree(part)
        part.mkdir()
        part.chmod(0o755)
        try:
            yield part
            _flush_folders(part)
            part.rename(out)  # replaces an empty folder, never a filled one
            _flush(out.parent)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


@contextmanager
def _exclusive_lock(lock: Path, out: Path) -> Generator[None]:
    """Hold a lock that ends with the process. On a file, not the folder: NFS locks only files open for writing."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(descriptor, lock, out)
        try:
            yield
        finally:
            lock.unlink()
    finally:
        os.close(descriptor)


def _take(descriptor: int, lock: Path, out: Path) -> None:
    """Lock the file. Raises OutputRefused if another process holds the lock, or held it when the file was opened."""
    refused = OutputRefused(f"another conversion is writing {out}", fix="wait for it")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise refused from error
    if not lock.exists() or lock.stat().st_ino != os.fstat(descriptor).st_ino:
        raise refused


def _flush_folders(folder: Path) -> None:
    """Flush all folders to disk; files were flushed when written."""
    for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        _flush(inner)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _as_output_error(error: OSError, out: Path) -> OutputDiskFull | OutputRefused:
    if error.errno in _FULL:
        return OutputDiskFull(f"the disk became full while {out} was written; nothing of it was kept")
    return OutputRefused(f"{out} cannot be written: {error.filename or out}: {error.strerror or error}")
