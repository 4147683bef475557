"""How many CPU cores this process may use: fewer than the machine has where a container or an affinity limits it.

Too many threads are slower than one: they take turns on the cores that are there.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def usable_cores(cgroups: Path = CGROUPS, own_cgroup: Path = OWN_CGROUP) -> int:
    """At least 1. A CPU limit of cgroup v2 (`docker run --cpus 1.5`) counts as the next whole number."""
    limits = [_allowed_cores(), *(_quota(folder) for folder in _folders(cgroups, own_cgroup))]
    return max(1, min(limit for limit in limits if limit is not None))


def _allowed_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _folders(cgroups: Path, own_cgroup: Path) -> list[Path]:
    """Of this process' cgroup and all above it, each of which may have a limit."""
    try:
        lines = own_cgroup.read_text().splitlines()
    except OSError:
        return []
    path = next((line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")), "")
    own = cgroups / path
    return [own, *(folder for folder in own.parents if folder.is_relative_to(cgroups))]


def _quota(folder: Path) -> int | None:
    """cpu.max holds microseconds of CPU and of time, or `max`."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        return None
