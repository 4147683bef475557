"""SHA256SUMS of a weights folder: written with the files, checked on demand, readable by `sha256sum -c` too.

Knows files and hashes; knows no format and no model.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from core.service.domain.errors import WeightsDamaged

SUMS_FILE = "SHA256SUMS"
_BLOCK_BYTES = 4 << 20


def format_sums(sums: Mapping[str, str]) -> str:
    """Text of SHA256SUMS: relative path -> hex digest, in order of paths."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))


def read_sums(folder: Path) -> dict[str, str]:
    """Relative path -> hex digest, as recorded; empty where nothing was.

    What was added later, a refiner, has its own record in its folder; it counts, too.
    """
    sums: dict[str, str] = {}
    for file in folder.rglob(SUMS_FILE):
        for line in file.read_text(encoding="utf-8").splitlines():
            digest, _, name = line.partition("  ")
            sums[(file.parent / name).relative_to(folder).as_posix()] = digest
    return sums


def file_sha256(file: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """Hex digest of a file of any size; `on_bytes` hears how many more bytes were read."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()


def verify_sums(folder: Path, on_bytes: Callable[[int], None] = lambda _: None) -> int:
    """Read every recorded file again; how many there are. Raises WeightsDamaged, naming all that differ."""
    sums = read_sums(folder)
    if not sums:
        raise WeightsDamaged(f"{folder} has no {SUMS_FILE} to compare with")
    faults: list[str] = []
    for name, recorded in sums.items():
        if not (folder / name).is_file():
            faults.append(f"{name} is missing")
        elif file_sha256(folder / name, on_bytes) != recorded:
            faults.append(f"{name} has other content than was written")
    if faults:
        raise WeightsDamaged(f"{folder}: {'; '.join(faults)}", fix="convert or download it again")
    return len(sums)
