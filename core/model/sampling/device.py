"""Selects the device, names it, and times work on it."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch

Value = TypeVar("Value")

logger = logging.getLogger(__name__)


def select_device(name: str | None) -> torch.device:
    """The device `name`; None: CUDA if available, else the CPU.

    Logs an error if CUDA_VISIBLE_DEVICES names a GPU that torch cannot use (missing, or wrong driver or build), because
    the CPU is many times slower.
    """
    if name is not None:
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    assigned = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if assigned not in {"", "-1"}:
        logger.error("GPU %s is assigned to this process, but torch cannot use it: computing on the CPU", assigned)
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """Name to show: "cpu", or the GPU's model."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


@dataclass
class DeviceTimer:
    """Seconds by phase. Waits for the GPU, so that a phase includes its kernels."""

    seconds: dict[str, float] = field(default_factory=lambda: {"prepare": 0.0, "denoise": 0.0, "decode": 0.0})

    def run(self, phase: str, work: Callable[[], Value]) -> Value:
        """Run `work`, wait for the GPU, and add the seconds to `phase`."""
        started = time.perf_counter()
        result = work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[phase] += time.perf_counter() - started
        return result
