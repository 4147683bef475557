"""What engines do with a device beside computing on it: find, name and time it. Knows no network."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch

Value = TypeVar("Value")

logger = logging.getLogger(__name__)


def own_device(name: str | None) -> torch.device:
    """The device of that name; None: CUDA where there is one, else CPU.

    A GPU that this process was given and torch cannot use (it is gone, or driver or build do not fit) is told in the
    log: on a CPU the same work takes many times as long.
    """
    if name is not None:
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if given not in {"", "-1"}:
        logger.error("this process was given GPU %s, which torch cannot use: it computes on the CPU", given)
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """What people call it: "cpu", or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


@dataclass
class Stopwatch:
    """Seconds by phase."""

    seconds: dict[str, float] = field(default_factory=lambda: {"prepare": 0.0, "denoise": 0.0, "decode": 0.0})

    def run(self, phase: str, work: Callable[[], Value]) -> Value:
        """Do the work and add its time to the phase. Device work counts where it is waited for."""
        started = time.perf_counter()
        result = work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[phase] += time.perf_counter() - started
        return result
