"""Which GPUs this machine offers, without torch, and which worker process gets which."""

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


def choose_gpus(wish: str, offered: Callable[[], Sequence[str]]) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each process to start: one per GPU, or one "" where the CPU shall work.

    `wish` is `auto` or `all` (what is `offered`), `none`, or a list such as `0,1` (taken at its word).
    Raises SetupError for an empty entry, or one named twice.
    """
    if wish in {"auto", "all"}:
        return list(offered()) or [""]
    if wish == "none":
        return [""]
    named = [part.strip() for part in wish.split(",")]
    if "" in named or len(set(named)) != len(named):
        raise SetupError(f"--gpus {wish!r} cannot be read", fix="give auto, all, none, or a list such as 0,1")
    return named


def offered_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES allows where it is set, else every GPU (of a partitioned GPU: every MIG device)."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [part.strip() for part in allowed.split(",") if part.strip() not in {"", "-1"}]
    return parse_listing(_nvidia_smi_listing())


def parse_listing(listing: str) -> list[str]:
    """Names for CUDA_VISIBLE_DEVICES in the output of `nvidia-smi -L`; a partitioned GPU is replaced by its parts."""
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
    """Empty where there is no driver."""
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
