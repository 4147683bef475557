"""The chunk benchmark, except for its times."""

from __future__ import annotations

from pathlib import Path

from benchmarks.chunks import Ask, Seconds, figures_of, take_turns


def test_checkouts_take_turns_and_the_first_chunks_are_not_counted() -> None:
    asked: list[str] = []

    def process(name: str, seconds: list[float]) -> Ask:
        def ask(kind: str) -> Seconds:
            asked.append(f"{name} {kind}")
            return Seconds(seconds.pop(0), 0.0)

        return ask

    ask = [process("own", [9.0, 9.0, 1.0, 2.0]), process("other", [8.0, 8.0, 3.0, 4.0])]
    samples = take_turns(ask, 1, lambda text: None)  # noqa: ARG005 - said to nobody

    assert asked == ["own first", "other first", "own later", "other later"] * 2
    assert [[each.wall for each in side["first"]] for side in samples] == [[1.0], [3.0]]


def test_ratios_are_those_of_each_turn() -> None:
    own = {kind: [Seconds(1.0, 2.0), Seconds(4.0, 2.0), Seconds(2.0, 2.0)] for kind in ("first", "later")}
    other = {kind: [Seconds(2.0, 3.0), Seconds(4.0, 3.0), Seconds(6.0, 3.0)] for kind in ("first", "later")}

    figures = {figure.name: figure for figure in figures_of("2 threads", [own, other], [Path("here"), Path("before")])}

    assert figures["later chunk, 2 threads"].value == 2.0
    assert figures["later chunk, 2 threads, frames per second"].value == 8.0
    assert figures["later chunk, 2 threads, times as fast"].samples == [2.0, 1.0, 3.0]
    assert figures["later chunk, 2 threads, times as fast"].value == 2.0
    assert figures["first chunk, 2 threads, times as cheap"].value == 1.5
    assert "before" in figures["first chunk, 2 threads, times as fast"].note
