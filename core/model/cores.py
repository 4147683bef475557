"""Number of CPU cores that this process may use, given CPU affinity and cgroup limits.

More threads than cores are slower: they wait for one another.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def usable_cores(cgroups: Path = CGROUPS, own_cgroup: Path = OWN_CGROUP) -> int:
    """At least 1. A cgroup v2 CPU limit (`docker run --cpus 1.5`) is rounded up."""
    limits = [_allowed_cores(), *(_quota(folder) for folder in _folders(cgroups, own_cgroup))]
    return max(1, min(limit for limit in limits if limit is not None))


def _allowed_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _folders(cgroups: Path, own_cgroup: Path) -> list[Path]:
    """Folders of this process' cgroup and its ancestors, each of which may set a limit."""
    try:
        lines = own_cgroup.read_text().splitlines()
    except OSError:
        return []
    path = next((line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")), "")
    own = cgroups / path
    return [own, *(folder for folder in own.parents if folder.is_relative_to(cgroups))]


def _quota(folder: Path) -> int | None:
    """Cores allowed by cpu.max, which holds CPU microseconds per period and the period, or `max`; None: no limit."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        return None
