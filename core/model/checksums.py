"""SHA256SUMS of a weights folder, in the format of `sha256sum`: written with the files, verified on demand."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from core.service.domain.errors import WeightsDamaged

SUMS_FILE = "SHA256SUMS"
_BLOCK_BYTES = 4 << 20


def format_sums(sums: Mapping[str, str]) -> str:
    """Content of SHA256SUMS for hex digests by relative path, sorted by path."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))


def read_sums(folder: Path) -> dict[str, str]:
    """Recorded hex digests by path relative to `folder`; empty if there is no SHA256SUMS.

    Includes SHA256SUMS of subfolders: a refiner that was added later brings its own.
    """
    sums: dict[str, str] = {}
    for file in folder.rglob(SUMS_FILE):
        for line in file.read_text(encoding="utf-8").splitlines():
            digest, _, name = line.partition("  ")
            sums[(file.parent / name).relative_to(folder).as_posix()] = digest
    return sums


def file_sha256(file: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """Hex SHA-256 of a file, read in blocks; `on_bytes` is called with the size of each."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()


def verify_sums(folder: Path, on_bytes: Callable[[int], None] = lambda _: None) -> int:
    """Verify all recorded files; returns their number. Raises WeightsDamaged, naming those missing or changed."""
    sums = read_sums(folder)
    if not sums:
        raise WeightsDamaged(f"{folder} has no {SUMS_FILE} to compare with")
    faults: list[str] = []
    for name, recorded in sums.items():
        if not (folder / name).is_file():
            faults.append(f"{name} is missing")
        elif file_sha256(folder / name, on_bytes) != recorded:
            faults.append(f"{name} has changed since it was written")
    if faults:
        raise WeightsDamaged(f"{folder}: {'; '.join(faults)}", fix="convert or download it again")
    return len(sums)
