"""Writes a weights folder atomically: one folder per network, and SHA256SUMS."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from core.model.checksums import SUMS_FILE, format_sums
from core.model.convert.disk import Disk, LocalDisk
from core.model.convert.output_folder import atomic_folder
from core.model.convert.shards import group_into_shards, write_part, write_text
from core.model.convert.summary import DTYPES, DtypeName, Part, Report, WrittenPart

_HEADERS_SHARE = 1.001  # headers, configs and checksums beside the weights


def write_weights_folder(
    parts: Sequence[Part], out: Path, dtype_name: DtypeName, report: Report, disk: Disk | None = None
) -> tuple[WrittenPart, ...]:
    """Write all parts into `out`. Raises OutputRefused, OutputDiskFull, WeightsOutOfRange; `out` is then unchanged."""
    dtype = DTYPES[dtype_name]
    disk = disk or LocalDisk()
    meter = _ByteCounter(report, sum(part.num_parameters for part in parts) * dtype.itemsize)
    sums: dict[str, str] = {}
    with atomic_folder(out, math.ceil(meter.total_bytes * _HEADERS_SHARE), disk) as folder:
        for part in parts:
            own = write_part(part, folder / part.name, dtype, disk, meter.for_phase(part.name))
            sums.update({f"{part.name}/{file}": digest for file, digest in own.items()})
        write_text(folder / SUMS_FILE, format_sums(sums), disk)
    return tuple(_written(part, dtype.itemsize, len(group_into_shards(part.tensors, dtype))) for part in parts)


def _written(part: Part, item_bytes: int, num_files: int) -> WrittenPart:
    return WrittenPart(part.name, part.num_parameters, part.num_parameters * item_bytes, num_files)


class _ByteCounter:
    """Reports the bytes written of all parts."""

    def __init__(self, report: Report, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self._report = report
        self._done_bytes = 0

    def for_phase(self, phase: str) -> Callable[[int], None]:
        def add(count: int) -> None:
            self._done_bytes += count
            self._report(phase, self._done_bytes, self.total_bytes)

        return add
