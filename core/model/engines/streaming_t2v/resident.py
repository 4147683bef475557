"""Keeps what has been loaded: on the device while there is room, else in main memory, and reads no file twice.

Two profiles of a preset compute in two dtypes, so their networks are two sets. A `fast` and a `reference` job that take
turns on one GPU must not read gigabytes, and compile again, for each chunk. Knows no network and no file.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import psutil
import torch

RESERVED_DEVICE_BYTES = 6 * 2**30
"""Left free on the device for what a step computes with: at 256x256 its peak above the weights."""
RESERVED_MAIN_BYTES = 4 * 2**30
"""Left free in main memory for everything else on the machine."""


class Movable(Protocol):
    """A set of networks."""

    @property
    def num_bytes(self) -> int: ...

    def move(self, device: torch.device) -> None: ...


Key = TypeVar("Key")
Networks = TypeVar("Networks", bound=Movable)


@dataclass(frozen=True)
class Memory:
    """How many bytes are free, where the computing is done and in main memory."""

    device: Callable[[], int]
    main: Callable[[], int]


def memory_of(device: torch.device) -> Memory:
    """Of this machine, less what is left for other uses. A CPU computes in main memory, so both are the same there."""

    def main() -> int:
        return int(psutil.virtual_memory().available) - RESERVED_MAIN_BYTES

    def on_gpu() -> int:
        # What torch has reserved and does not use is free for it, too.
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved - RESERVED_DEVICE_BYTES

    return Memory(on_gpu if device.type == "cuda" else main, main)


class Resident(Generic[Key, Networks]):
    """Sets of networks by key. The one asked for is on the device; others stay there as far as there is room."""

    def __init__(
        self,
        device: torch.device,
        load: Callable[[Key], Networks],
        expected_bytes: Callable[[Key], int],
        memory: Memory,
    ) -> None:
        """`load` makes a set on the device, which will have about `expected_bytes`."""
        self._device = device
        self._load = load
        self._expected_bytes = expected_bytes
        self._memory = memory
        self._held: OrderedDict[Key, Networks] = OrderedDict()
        self._apart: set[Key] = set()
        """Those in main memory instead."""

    def at(self, key: Key) -> Networks:
        """The set, on the device. Raises what `load` raises; the sets held before are kept then."""
        if key not in self._held:
            self._make_room(self._expected_bytes(key))
            self._held[key] = self._load(key)
        elif key in self._apart:
            self._make_room(self._held[key].num_bytes)
            self._held[key].move(self._device)
            self._apart.discard(key)
        self._held.move_to_end(key)
        return self._held[key]

    def is_here(self, key: Key) -> bool:
        """`at` need neither load nor move it."""
        return key in self._held and key not in self._apart

    def _make_room(self, num_bytes: int) -> None:
        """Take sets off the device, the one unused longest first, until the bytes fit or none is left."""
        for key in [key for key in self._held if key not in self._apart]:
            if self._memory.device() >= num_bytes:
                return
            self._put_apart(key)

    def _put_apart(self, key: Key) -> None:
        """To main memory; given up where that is as full, or is the device's own."""
        if self._device.type == "cpu" or self._memory.main() < self._held[key].num_bytes:
            del self._held[key]
        else:
            self._held[key].move(torch.device("cpu"))
            self._apart.add(key)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
