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
    """Sets of networks by key, each of which loads its networks when they are first needed. The set in use is on the
    device; others stay there while they fit."""

    def __init__(self, device: torch.device, make: Callable[[Key], Networks], memory: Memory) -> None:
        """`make` makes a set that has loaded nothing yet."""
        self._device = device
        self._make = make
        self._memory = memory
        self._held: OrderedDict[Key, Networks] = OrderedDict()
        self._offloaded: set[Key] = set()
        """Keys of sets in main memory."""

    def at(self, key: Key, missing_bytes: Callable[[Networks], int]) -> Networks:
        """The set, on the device, with room beside it for what it still has to load there: `missing_bytes` of it."""
        if key not in self._held:
            self._held[key] = self._make(key)
        networks = self._held[key]
        missing = missing_bytes(networks)
        if key in self._offloaded:
            self._make_room(networks.num_bytes + missing, key)
            networks.move(self._device)
            self._offloaded.discard(key)
        elif missing:
            self._make_room(missing, key)
        self._held.move_to_end(key)
        return networks

    def on_device(self, key: Key) -> Networks | None:
        """The set, if what it has loaded is on the device. It counts as used."""
        if key not in self._held or key in self._offloaded:
            return None
        self._held.move_to_end(key)
        return self._held[key]

    def _make_room(self, num_bytes: int, wanted: Key) -> None:
        """Offload sets other than `wanted`, least recently used first, until `num_bytes` fit or none is left."""
        for key in [key for key in self._held if key != wanted and key not in self._offloaded]:
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
