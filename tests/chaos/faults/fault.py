"""What a fault is, and what it says of what it did."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from tests.chaos.world import World

Group = Literal["workers", "api", "redis", "s3"]
LONG_RUN_SECONDS = 300.0
T = TypeVar("T")


class NotApplicable(Exception):
    """There is nothing here that this fault could hit at this moment; it is left out."""


@dataclass(frozen=True)
class Hit:
    """What a fault did. `job_id`: the job that it hit, where it is one. `damaged`: the object that it changed."""

    text: str
    job_id: str | None = None
    damaged: str | None = None


class Fault(ABC):
    """One fault. `seconds` from inject to lift; `pick`, 0 to 1, chooses among possible victims."""

    name: ClassVar[str]
    group: ClassVar[Group]
    shortest_seconds: ClassVar[float] = 0.0
    longest_seconds: ClassVar[float] = 0.0
    only_in_runs_of_seconds: ClassVar[float] = 0.0
    """Left out of shorter runs."""
    costs_every_worker: ClassVar[bool] = True
    """Whether each worker may lose the piece it makes; else one of them."""

    def __init__(self, seconds: float, pick: float) -> None:
        self.seconds = seconds
        self.pick = pick

    @abstractmethod
    def inject(self, world: World) -> Hit:
        """Do it. Raises NotApplicable where there is no victim."""

    def lift(self, world: World) -> None:
        """End it; nothing where the fault was over at once."""
        del world

    def one_of(self, choices: Sequence[T]) -> T:
        """The victim that `pick` chooses. Raises NotApplicable where there is none."""
        if not choices:
            raise NotApplicable("nothing to hit")
        return choices[min(int(self.pick * len(choices)), len(choices) - 1)]
