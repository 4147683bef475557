"""Finds the machine's GPUs without torch, and assigns them to worker processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Collection, Sequence

from core.service.domain.errors import SetupError, shortened

_GPU = re.compile(r"^GPU (\d+): ")
_MIG = re.compile(r"^\s+MIG .*\(UUID: (MIG-[0-9A-Za-z/-]+)\)")
_UUID = re.compile(r"\(UUID: ((?:GPU|MIG)-[0-9A-Za-z/-]+)\)")
_NAME = re.compile(r"[0-9]+|(?:GPU|MIG)-[0-9A-Za-z/-]+")
NVIDIA_SMI_SECONDS = 30.0


def available_gpus() -> list[str]:
    """The devices in CUDA_VISIBLE_DEVICES if it is set, else every GPU (of a partitioned GPU every MIG device)."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return _named_in(allowed) if allowed is not None else parse_listing(_nvidia_smi_listing())


def existing_gpus() -> list[str]:
    """Every number and UUID in nvidia-smi's list; where it lists none, the devices in CUDA_VISIBLE_DEVICES."""
    return names_in(_nvidia_smi_listing()) or _named_in(os.environ.get("CUDA_VISIBLE_DEVICES", ""))


def choose_gpus(
    requested: str,
    available: Callable[[], Sequence[str]] = available_gpus,
    existing: Callable[[], Collection[str]] = existing_gpus,
) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each process to start: one process per GPU, or a single "" for the CPU.

    `requested` is `auto` or `all` (those that `available` returns), `none`, or a list such as `0,1`: numbers, and UUIDs
    or their beginnings, of GPUs that `existing` returns. Raises SetupError for a list with anything else, as CUDA would
    then see no GPU and the worker would compute on the CPU.
    """
    if requested in {"auto", "all"}:
        return list(available()) or [""]
    if requested == "none":
        return [""]
    named = [part.strip() for part in requested.split(",")]
    if len(set(named)) != len(named) or not all(_NAME.fullmatch(name) for name in named):
        raise SetupError(
            f"--gpus {shortened(requested)!r} is invalid",
            fix="give auto, all, none, or a list of numbers or UUIDs of `nvidia-smi -L`, such as 0,1",
        )
    _check_existence(named, existing())
    return named


def _check_existence(named: Sequence[str], existing: Collection[str]) -> None:
    if not existing:
        raise SetupError(
            f"--gpus {shortened(','.join(named))} names GPUs, and `nvidia-smi -L` lists none",
            fix="check the driver, or give --gpus none for the CPU; where nvidia-smi is missing, "
            "CUDA_VISIBLE_DEVICES says which there are",
        )
    for name in named:
        if name not in existing and (name.isdigit() or not any(known.startswith(name) for known in existing)):
            raise SetupError(
                f"there is no GPU {shortened(name)}", fix=f"give some of {', '.join(existing)}, or --gpus auto"
            )


def _named_in(allowed: str) -> list[str]:
    return [part.strip() for part in allowed.split(",") if part.strip() not in {"", "-1"}]


def names_in(listing: str) -> list[str]:
    """Every name that CUDA_VISIBLE_DEVICES takes of the devices in the output of `nvidia-smi -L`."""
    names = list[str]()
    for line in listing.splitlines():
        names += [str(found.group(1)) for found in (_GPU.match(line), _UUID.search(line)) if found]
    return names


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
