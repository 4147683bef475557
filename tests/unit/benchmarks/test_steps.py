"""What the step benchmarks count and compute, where no clock is needed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.approximations import Timed, compare, psnr
from benchmarks.cuda import make_bench as make_cuda_bench
from benchmarks.cuda import memory_figures, mode_figures, sample_windows
from benchmarks.figures import Figure, Report
from benchmarks.networks import TINY, random_inputs, random_network
from benchmarks.steps import default_step, difference_figure, flops, plain_step, ratio_figure, take_turns


def test_a_full_size_step_costs_what_the_specification_counts_and_ours_less() -> None:
    plain, default = flops()

    assert plain.value == pytest.approx(12.21, abs=0.01)
    assert default.met


@torch.inference_mode()
def test_both_steps_predict_the_same() -> None:
    network, inputs = random_network(TINY), random_inputs(TINY)

    predictions = {"plain": plain_step(network, inputs)(), "default": default_step(network, inputs)()}

    assert difference_figure("default", predictions).met


def test_paths_take_turns_and_ratios_come_from_the_fastest() -> None:
    calls: list[str] = []

    def path(name: str) -> torch.Tensor:
        calls.append(name)
        return torch.zeros(())

    take_turns({"a": lambda: path("a"), "b": lambda: path("b")}, 2, lambda text: None)  # noqa: ARG005 - said to nobody

    assert calls == ["a", "b", "a", "b"]
    assert ratio_figure("default", {"plain": [3.0, 9.0, 3.0], "default": [2.0, 1.5, 2.0]}, 1.15).value == 2.0


def test_approximations_are_judged_against_the_full_frames() -> None:
    full, off_by_two = (np.full((8, 4, 4, 3), grey, np.uint8) for grey in (100, 102))
    full[:4] = 50
    off_by_two[:4] = 52

    speed, quality, share = compare("x", [{"full": Timed(3.0, full), "x": Timed(2.0, off_by_two)}])

    assert (speed.value, quality.value, share.value) == (1.5, 42.1, 0.0)
    assert psnr(np.zeros(3)) == math.inf


def test_what_no_gpu_measured_says_so(tmp_path: Path) -> None:
    report = Report("", "", {}, [*mode_figures("CUDA graphs", None, None, None), *memory_figures("CUDA graphs", [])])

    report.write(tmp_path / "report.json")

    rows = json.loads((tmp_path / "report.json").read_text())["figures"]
    assert {(row["value"], row["met"]) for row in rows} == {("not measured", None)}
    assert Figure("", None, "ms").value_text == "not measured"


def test_pace_of_a_gpu_includes_decoding() -> None:
    figures = {figure.name: figure for figure in mode_figures("CUDA graphs", 36.0, 100.0, None)}

    assert figures["CUDA graphs: window of 50 steps"].value == 1900.0
    assert figures["CUDA graphs: new frames, 50 steps"].value == pytest.approx(4.21)
    assert figures["CUDA graphs: new frames, 25 steps"].value == 8.0


@torch.inference_mode()
def test_windows_of_the_gpu_benchmark_run_on_any_device() -> None:
    bench = make_cuda_bench(TINY, torch.float32, torch.device("cpu"), None)

    assert sample_windows(bench, 2, steps=1) == [0.0, 0.0]
