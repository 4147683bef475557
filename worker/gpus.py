"""Finds the machine's GPUs without torch, and assigns them to worker processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence

from core.service.domain.errors import SetupError

_GPU = re.compile(r"^GPU (\d+): ")
_MIG = re.compile(r"^\s+MIG .*\(UUID: (MIG-[0-9A-Za-z/-]+)\)")
NVIDIA_SMI_SECONDS = 30.0


def choose_gpus(requested: str, available: Callable[[], Sequence[str]]) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each process to start: one process per GPU, or a single "" for the CPU.

    `requested` is `auto` or `all` (those that `available` returns), `none`, or a list such as `0,1` (not checked).
    Raises SetupError for an empty or repeated entry.
    """
    if requested in {"auto", "all"}:
        return list(available()) or [""]
    if requested == "none":
        return [""]
    named = [part.strip() for part in requested.split(",")]
    if "" in named or len(set(named)) != len(named):
        raise SetupError(f"--gpus {requested!r} is invalid", fix="give auto, all, none, or a list such as 0,1")
    return named


def available_gpus() -> list[str]:
    """The devices in CUDA_VISIBLE_DEVICES if it is set, else every GPU (of a partitioned GPU every MIG device)."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [part.strip() for part in allowed.split(",") if part.strip() not in {"", "-1"}]
    return parse_listing(_nvidia_smi_listing())


def parse_listing(listing: str) -> list[str]:
    """CUDA_VISIBLE_DEVICES names in the output of `nvidia-smi -L`; MIG devices replace their GPU."""
    names: list[str] = []
    for line in listing.splitlines():
        gpu, part = _GPU.match(line), _MIG.match(line)
        if gpu:
            names.append(str(gpu.group(1)))
        elif part:
            if names and names[-1].isdigit():
                names.pop()
            names.append(str(part.group(1)))
    return names


def _nvidia_smi_listing() -> str:
    """Empty without a driver."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            [command, "-L"], capture_output=True, text=True, timeout=NVIDIA_SMI_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
