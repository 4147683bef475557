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
    """A device and main memory of these sizes, and what is in them. A set loads one network for each profile asked of
    it, which has as many bytes as the set's name has letters."""

    device_bytes: int
    main_bytes: int = 100
    loaded: list[str] = field(default_factory=lambda: [])
    sets: weakref.WeakSet[Networks] = field(default_factory=lambda: weakref.WeakSet())

    def __post_init__(self) -> None:
        memory = Memory(lambda: self.free(GPU), lambda: self.free(CPU))
        self.cache = DeviceCache[str, Networks](GPU, self.make, memory)

    def free(self, where: torch.device) -> int:
        total = self.device_bytes if where == GPU else self.main_bytes
        return total - sum(each.num_bytes for each in self.sets if each.device == where)

    def make(self, name: str) -> Networks:
        networks = Networks(self, name)
        self.sets.add(networks)
        return networks

    def use(self, name: str, profiles: int = 1) -> Networks:
        """The set with its networks for so many profiles at least."""
        networks = self.cache.at(name, lambda held: max(0, profiles - held.profiles) * len(name))
        if networks.profiles < profiles:
            self.loaded.append(name)
            networks.profiles = profiles
        assert self.free(networks.device) >= 0, "out of memory"
        return networks

    def on_device(self, *names: str) -> list[str]:
        return [name for name in names if self.cache.on_device(name) is not None]


@dataclass(eq=False)
class Networks:
    machine: Machine
    name: str
    device: torch.device = GPU
    profiles: int = 0

    @property
    def num_bytes(self) -> int:
        return len(self.name) * self.profiles

    def move(self, device: torch.device) -> None:
        self.device = device
        assert self.machine.free(device) >= 0, "out of memory"


@pytest.fixture(autouse=True)
def _no_gpu_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


def test_two_profiles_that_fit_are_both_on_the_device_and_loaded_once() -> None:
    machine = Machine(device_bytes=20)

    for name in ("fast", "reference", "fast", "reference"):
        assert machine.use(name).device == GPU

    assert machine.loaded == ["fast", "reference"]
    assert machine.on_device("fast", "reference") == ["fast", "reference"]


def test_where_only_one_fits_the_other_waits_in_main_memory_and_is_not_loaded_again() -> None:
    machine = Machine(device_bytes=10)

    for name in ("fast", "reference", "fast", "reference"):
        assert machine.use(name).device == GPU

    assert machine.loaded == ["fast", "reference"]
    assert machine.on_device("fast") == []


def test_the_set_unused_longest_makes_room_first() -> None:
    machine = Machine(device_bytes=12)

    for name in ("aaaa", "bbbb", "aaaa", "cccccc"):
        machine.use(name)

    assert machine.on_device("aaaa", "bbbb") == ["aaaa"]


def test_where_main_memory_is_full_too_the_other_is_given_up_and_loaded_again() -> None:
    machine = Machine(device_bytes=10, main_bytes=3)

    for name in ("fast", "reference", "fast"):
        assert machine.use(name).device == GPU

    assert machine.loaded == ["fast", "reference", "fast"]


def test_a_set_that_loads_more_makes_room_for_it_and_stays_itself() -> None:
    machine = Machine(device_bytes=14)
    for name in ("aaaa", "bbbb"):
        machine.use(name)
    machine.use("aaaa", profiles=3)
    assert machine.on_device("aaaa", "bbbb") == ["aaaa"]
    machine.use("aaaa")
    assert machine.loaded == ["aaaa", "bbbb", "aaaa"]


def test_a_set_that_comes_back_has_room_for_what_it_loads_then() -> None:
    machine = Machine(device_bytes=12)
    for name in ("aaaa", "bbbbbb", "cccccc"):
        machine.use(name)
    assert machine.on_device("aaaa", "bbbbbb", "cccccc") == ["bbbbbb", "cccccc"]
    machine.use("aaaa", profiles=2)
    assert machine.on_device("aaaa", "bbbbbb", "cccccc") == ["aaaa"]
