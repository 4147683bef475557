"""The GPU benchmark at toy size on a CPU: the same code that runs on a GPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import cuda_smoke
from benchmarks.cuda import MODES, SECONDS, Mode, NoTimeLeft, Run, main, parse_args
from benchmarks.cuda_engine import repeated
from benchmarks.cuda_rig import FULL, TOY, Rig, Scale
from benchmarks.figures import Figure, Report
from benchmarks.result_file import ResultFile
from core.service.domain.engine import EngineChunk, EngineState, OnStep, ignore_step
from tests.helpers.compiler import reset_compiler

COMPILING = {"graphs", "refiner-compiled"}
QUICK = ",".join(name for name in MODES if name not in COMPILING)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] - pytest calls it
    reset_compiler()
    yield
    reset_compiler()


def rows(path: Path) -> dict[str, dict[str, Any]]:
    """The figures of a result file, by name."""
    return {row["name"]: row for row in json.loads(path.read_text())["figures"]}


def run_tiny(folder: Path, modes: str) -> dict[str, dict[str, Any]]:
    assert main(["--device", "cpu", "--size", "tiny", "--out", str(folder), "--modes", modes]) == 0
    return rows(folder / "cpu-tiny.json")


def test_every_mode_that_compiles_nothing_runs_on_a_cpu(tmp_path: Path) -> None:
    figures = run_tiny(tmp_path, QUICK)
    assert [name for name in figures if "ended early" in name] == []
    assert figures["eager: bytes that differ when a chunk is made twice"]["value"] == 0
    assert figures["eager: new frames, 50 steps"]["value"] > 0
    assert figures["refiner, eager: window of 24 frames, 16 of them new"]["value"] > 0
    smoked = [row for name, row in figures.items() if name.startswith("smoke")]
    assert len(smoked) == 9
    assert all(row["met"] for row in smoked)
    memory = [row["value"] for name, row in figures.items() if name.startswith("memory")]
    assert memory == ["not measured"] * 4


@pytest.mark.parametrize("mode", sorted(COMPILING))
def test_what_is_compiled_on_a_gpu_is_traced_here_and_shows_the_same(tmp_path: Path, mode: str) -> None:
    figures = run_tiny(tmp_path, mode)
    (difference,) = [row["value"] for name, row in figures.items() if "mean difference from eager" in name]
    assert difference <= 0.01
    assert [name for name in figures if "ended early" in name] == []


def test_a_later_run_adds_to_the_file_of_the_same_commit(tmp_path: Path) -> None:
    smoked = run_tiny(tmp_path, "smoke")
    both = run_tiny(tmp_path, "repeat")
    assert len(both) == len(smoked) + 1


def test_without_a_gpu_everything_is_run_and_nothing_is_said_to_be_measured(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: it would be measured")
    assert main(["--modes", "repeat,memory", "--out", str(tmp_path)]) == 0
    figures = rows(tmp_path / "cuda-not-measured.json")
    assert len(figures) == 5
    assert {(row["value"], row["met"]) for row in figures.values()} == {("not measured", None)}


def make_run(folder: Path, mode: Mode, *, ends_at: float = 1e12, scale: Scale = TOY) -> Run:
    """A run whose only mode is `some`."""
    result_file = ResultFile(folder / "results.json", Report("", "commit", {"gpu": "none"}))
    return Run(Rig(CPU, scale), result_file, ends_at, modes={"some": mode})


def ignore(_text: str) -> None: ...


def test_figures_are_in_the_file_before_the_next_one_is_measured(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def measuring(_rig: Rig) -> Iterator[Figure]:
        for name in ("first", "second", "third"):
            yield Figure(name, 1.0, "s")
            seen.append(list(rows(tmp_path / "results.json")))

    assert make_run(tmp_path, Mode(measuring, 1)).measure("some", ignore)
    assert seen == [["first"], ["first", "second"], ["first", "second", "third"]]


def test_a_mode_that_fails_is_reported_and_keeps_its_figures(tmp_path: Path) -> None:
    works: list[bool] = [False, True]

    def measuring(_rig: Rig) -> Iterator[Figure]:
        yield Figure("first", 1.0, "s")
        if not works.pop(0):
            raise RuntimeError("CUDA error: no kernel image")
        yield Figure("second", 2.0, "s")

    run = make_run(tmp_path, Mode(measuring, 1))
    assert not run.measure("some", ignore)
    figures = rows(tmp_path / "results.json")
    assert list(figures) == ["first", "some: ended early"]
    assert figures["some: ended early"]["note"] == "RuntimeError: CUDA error: no kernel image"
    assert run.measure("some", ignore)
    assert list(rows(tmp_path / "results.json")) == ["first", "second"]


def test_a_mode_that_takes_longer_than_what_is_left_does_not_begin(tmp_path: Path) -> None:
    begun: list[str] = []

    def measuring(_rig: Rig) -> Iterator[Figure]:
        begun.append("begun")
        yield Figure("first", 1.0, "s")

    assert not make_run(tmp_path, Mode(measuring, 1e13), scale=FULL).measure("some", ignore)
    assert not make_run(tmp_path, Mode(measuring, 1), ends_at=0.0).measure("some", ignore)
    assert begun == []
    assert rows(tmp_path / "results.json")["some: ended early"]["note"].startswith(NoTimeLeft.__name__)


def test_all_modes_together_take_less_than_eight_minutes_on_one_gpu() -> None:
    assert sum(mode.seconds for mode in MODES.values()) <= SECONDS < 8 * 60


def test_modes_run_in_their_own_order_whatever_the_order_requested() -> None:
    assert parse_args(["--modes", "graphs,smoke,pace"]).modes == ["smoke", "pace", "graphs"]
    with pytest.raises(SystemExit):
        parse_args(["--modes", "smoke,fast"])


def test_another_commit_or_gpu_begins_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    ResultFile(path, Report("", "a", {"gpu": "H200"})).add(Figure("first", 1.0, "s"))
    ResultFile(path, Report("", "a", {"gpu": "H200"})).add(Figure("second", None, "s"))
    assert [(name, row["value"]) for name, row in rows(path).items()] == [("first", 1.0), ("second", "not measured")]
    ResultFile(path, Report("", "a", {"gpu": "H100"})).add(Figure("third", 3.0, "s"))
    assert list(rows(path)) == ["third"]
    ResultFile(path, Report("", "b", {"gpu": "H100"})).add(Figure("fourth", 4.0, "s"))
    assert list(rows(path)) == ["fourth"]


@torch.inference_mode()
def test_a_network_that_gives_no_numbers_is_seen() -> None:
    piece = cuda_smoke.text_encoder(TOY.smoke)
    expected = piece.run(*piece.inputs)
    figure = cuda_smoke.compare(piece, expected, expected * float("nan"), torch.float32)
    assert (figure.met, figure.note) == (False, "NOT FINITE")
    assert cuda_smoke.compare(piece, expected, expected, torch.float32).met


class DriftingRig(Rig):
    """Makes every chunk after the first with another number of steps."""

    made = 0

    def chunk(self, steps: int, state: EngineState, on_step: OnStep = ignore_step) -> EngineChunk:
        self.made += 1
        return super().chunk(steps if self.made == 1 else 50, state, on_step)


@torch.inference_mode()
def test_a_chunk_that_is_made_otherwise_the_second_time_is_counted() -> None:
    figure = repeated(DriftingRig(CPU, TOY), "eager")
    assert figure.value is not None
    assert figure.value > 0
    assert figure.met is False
