"""What engines do with a device beside computing on it: name it for people, and time its work. Knows no network."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch

Value = TypeVar("Value")


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
