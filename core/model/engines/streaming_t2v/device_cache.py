"""A cache of loaded networks: on the device if they fit, else in main memory.

Profiles of a preset may have different dtypes, hence different networks. `fast` and `reference` jobs that alternate on
one GPU must not load gigabytes and compile again for each chunk. Knows no network and no file.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import psutil
import torch

RESERVED_DEVICE_BYTES = 6 * 2**30
"""Kept free on the device for activations: the peak above the weights at 256x256."""
RESERVED_MAIN_BYTES = 4 * 2**30
"""Kept free in main memory for other processes."""


class Movable(Protocol):
    """A set of networks."""

    @property
    def num_bytes(self) -> int: ...

    def move(self, device: torch.device) -> None: ...


Key = TypeVar("Key")
Networks = TypeVar("Networks", bound=Movable)


@dataclass(frozen=True)
class Memory:
    """Free bytes on the device and in main memory."""

    device: Callable[[], int]
    main: Callable[[], int]


def memory_of(device: torch.device) -> Memory:
    """This machine's, minus the reserved bytes. For a CPU both are main memory."""

    def main() -> int:
        return int(psutil.virtual_memory().available) - RESERVED_MAIN_BYTES

    def on_gpu() -> int:
        # Memory that torch has reserved and does not use is free, too.
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved - RESERVED_DEVICE_BYTES

    return Memory(on_gpu if device.type == "cuda" else main, main)


class DeviceCache(Generic[Key, Networks]):
    """Sets of networks by key. The one in use is on the device; others stay there while they fit."""

    def __init__(
        self,
        device: torch.device,
        load: Callable[[Key], Networks],
        expected_bytes: Callable[[Key], int],
        memory: Memory,
    ) -> None:
        """`load` loads a set onto the device; `expected_bytes` estimates its size."""
        self._device = device
        self._load = load
        self._expected_bytes = expected_bytes
        self._memory = memory
        self._held: OrderedDict[Key, Networks] = OrderedDict()
        self._offloaded: set[Key] = set()
        """Keys of sets in main memory."""

    def at(self, key: Key) -> Networks:
        """The set, on the device. Raises what `load` raises; sets loaded before are then kept."""
        if key not in self._held:
            self._make_room(self._expected_bytes(key))
            self._held[key] = self._load(key)
        elif key in self._offloaded:
            self._make_room(self._held[key].num_bytes)
            self._held[key].move(self._device)
            self._offloaded.discard(key)
        self._held.move_to_end(key)
        return self._held[key]

    def is_on_device(self, key: Key) -> bool:
        """Whether `at` returns the set without loading or moving it."""
        return key in self._held and key not in self._offloaded

    def _make_room(self, num_bytes: int) -> None:
        """Offload sets, least recently used first, until `num_bytes` fit or none is left."""
        for key in [key for key in self._held if key not in self._offloaded]:
            if self._memory.device() >= num_bytes:
                return
            self._offload(key)

    def _offload(self, key: Key) -> None:
        """Move a set to main memory; drop it if it does not fit there, or if the device is the CPU."""
        if self._device.type == "cpu" or self._memory.main() < self._held[key].num_bytes:
            del self._held[key]
        else:
            self._held[key].move(torch.device("cpu"))
            self._offloaded.add(key)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
