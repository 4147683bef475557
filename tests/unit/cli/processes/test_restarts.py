"""Pauses and messages of restarts, with scripted processes and a fake clock."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from cli.processes.restarts import LONGEST_PAUSE_SECONDS, STEADY_SECONDS, Restarter
from core.service.domain.errors import SetupError


@dataclass
class FakePart:
    name: str = "the API"
    end: str | None = None
    refusal: str | None = None
    starts: int = 0

    def ending(self) -> str | None:
        return self.end

    def restart(self) -> None:
        self.starts += 1
        if self.refusal:
            raise SetupError(self.refusal)
        self.end = None


@dataclass
class World:
    """A keeper of some parts, what it said, and the time."""

    parts: list[FakePart]
    said: list[str] = field(default_factory=lambda: [])
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.restarter = Restarter(self.parts, self.said.append, self.now)

    def pass_time(self, seconds: float) -> None:
        """Looks twice a second, as `longtake up` does."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.5
            self.restarter.check(self.now)


def test_a_part_that_ended_is_started_again_after_a_second_and_both_are_said() -> None:
    redis = FakePart("Redis")
    world = World([redis, FakePart()])

    redis.end = "signal 9"
    world.pass_time(0.5)
    assert (world.said, redis.starts) == (["Redis ended (signal 9), starting it again in 1 s"], 0)
    world.pass_time(1)

    assert world.said[1:] == ["Redis was started again"]
    assert [part.starts for part in world.parts] == [1, 0]


def test_a_sentence_begins_with_a_capital_and_has_the_last_line_of_the_log() -> None:
    api = FakePart("the API", end="exit code 1: no such module")
    world = World([api])
    world.pass_time(0.5)

    assert world.said == ["The API ended (exit code 1: no such module), starting it again in 1 s"]


def test_the_pause_doubles_up_to_the_longest_while_a_part_keeps_ending() -> None:
    api = FakePart()
    world = World([api])
    for _ in range(8):
        api.end = "signal 11"
        world.pass_time(LONGEST_PAUSE_SECONDS + 1)

    pauses = [line.split("again in ")[1] for line in world.said if "ended" in line]
    assert pauses == ["1 s", "2 s", "4 s", "8 s", "16 s", "30 s", "30 s", "30 s"]


@pytest.mark.parametrize(("lived_seconds", "pause"), [(STEADY_SECONDS / 2, "4 s"), (STEADY_SECONDS + 1, "1 s")])
def test_a_steady_minute_makes_the_pause_short_again(lived_seconds: float, pause: str) -> None:
    api = FakePart()
    world = World([api])
    for lived in (0, 5, lived_seconds):
        world.pass_time(lived)
        api.end = "signal 9"
        world.pass_time(5)

    assert [line for line in world.said if "ended" in line][-1].endswith(f"again in {pause}")


def test_a_part_that_cannot_be_started_is_retried_without_end_with_a_line_each() -> None:
    redis = FakePart("Redis", refusal="Port 7 for Redis cannot be used: Address already in use.")
    world = World([redis])
    redis.end = "signal 9"
    world.pass_time(600)

    assert redis.starts > 20
    refused = [line for line in world.said if line.startswith("Port 7")]
    assert len(refused) == redis.starts
    assert refused[0] == "Port 7 for Redis cannot be used: Address already in use; trying again in 2 s"
    assert refused[-1].endswith("; trying again in 30 s")

    redis.refusal = None
    world.pass_time(LONGEST_PAUSE_SECONDS + 1)
    assert world.said[-1] == "Redis was started again"


def test_one_part_that_cannot_be_started_does_not_keep_others_waiting() -> None:
    redis, api = FakePart("Redis", refusal="no"), FakePart("the API")
    world = World([redis, api])
    redis.end = "signal 9"
    world.pass_time(100)
    api.end = "signal 9"
    world.pass_time(2)

    assert api.starts == 1
