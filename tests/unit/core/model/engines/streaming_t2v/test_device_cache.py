"""Sets of networks share a device while there is room, wait in main memory while there is none, and are loaded once."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field

import pytest
import torch

from core.model.engines.streaming_t2v.device_cache import DeviceCache, Memory

GPU = torch.device("cuda")
CPU = torch.device("cpu")


@dataclass
class Machine:
    """A device and main memory of these sizes, and what is in them. A set has as many bytes as its name has letters."""

    device_bytes: int
    main_bytes: int = 100
    loaded: list[str] = field(default_factory=lambda: [])
    sets: weakref.WeakSet[Networks] = field(default_factory=lambda: weakref.WeakSet())

    def free(self, where: torch.device) -> int:
        total = self.device_bytes if where == GPU else self.main_bytes
        return total - sum(each.num_bytes for each in self.sets if each.device == where)

    def resident(self) -> DeviceCache[str, Networks]:
        return DeviceCache(GPU, self.load, len, Memory(lambda: self.free(GPU), lambda: self.free(CPU)))

    def load(self, name: str) -> Networks:
        self.loaded.append(name)
        networks = Networks(self, name)
        self.sets.add(networks)
        assert self.free(GPU) >= 0, "out of memory"
        return networks


@dataclass(eq=False)
class Networks:
    machine: Machine
    name: str
    device: torch.device = GPU

    @property
    def num_bytes(self) -> int:
        return len(self.name)

    def move(self, device: torch.device) -> None:
        self.device = device
        assert self.machine.free(device) >= 0, "out of memory"


@pytest.fixture(autouse=True)
def _no_gpu_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


def test_two_profiles_that_fit_are_both_on_the_device_and_loaded_once() -> None:
    machine = Machine(device_bytes=20)
    resident = machine.resident()

    for name in ("fast", "reference", "fast", "reference"):
        assert resident.at(name).device == GPU

    assert machine.loaded == ["fast", "reference"]
    assert resident.is_on_device("fast")
    assert resident.is_on_device("reference")


def test_where_only_one_fits_the_other_waits_in_main_memory_and_is_not_loaded_again() -> None:
    machine = Machine(device_bytes=10)
    resident = machine.resident()

    for name in ("fast", "reference", "fast", "reference"):
        assert resident.at(name).device == GPU

    assert machine.loaded == ["fast", "reference"]
    assert not resident.is_on_device("fast")


def test_the_set_unused_longest_makes_room_first() -> None:
    machine = Machine(device_bytes=12)
    resident = machine.resident()

    for name in ("aaaa", "bbbb", "aaaa", "cccccc"):
        resident.at(name)

    assert [name for name in ("aaaa", "bbbb") if resident.is_on_device(name)] == ["aaaa"]


def test_where_main_memory_is_full_too_the_other_is_given_up_and_loaded_again() -> None:
    machine = Machine(device_bytes=10, main_bytes=3)
    resident = machine.resident()

    for name in ("fast", "reference", "fast"):
        assert resident.at(name).device == GPU

    assert machine.loaded == ["fast", "reference", "fast"]
