"""The step benchmarks, except for timing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.approximations import Timed, compare, psnr
from benchmarks.networks import TINY, random_inputs, random_network
from benchmarks.steps import default_step, difference_figure, flops, ratio_figure, reference_step, take_turns


def test_a_full_size_step_costs_what_the_specification_counts_and_ours_less() -> None:
    reference, default = flops()

    assert reference.value == pytest.approx(12.21, abs=0.01)
    assert default.met


@torch.inference_mode()
def test_both_steps_predict_the_same() -> None:
    network, inputs = random_network(TINY), random_inputs(TINY)

    predictions = {"reference": reference_step(network, inputs)(), "default": default_step(network, inputs)()}

    assert difference_figure("default", predictions).met


def test_paths_take_turns_and_ratios_come_from_the_fastest() -> None:
    calls: list[str] = []

    def path(name: str) -> torch.Tensor:
        calls.append(name)
        return torch.zeros(())

    take_turns({"a": lambda: path("a"), "b": lambda: path("b")}, 2, lambda text: None)  # noqa: ARG005 - said to nobody

    assert calls == ["a", "b", "a", "b"]
    assert ratio_figure("default", {"reference": [3.0, 9.0, 3.0], "default": [2.0, 1.5, 2.0]}, 1.15).value == 2.0


def test_approximations_are_judged_against_the_full_frames() -> None:
    full, off_by_two = (np.full((8, 4, 4, 3), grey, np.uint8) for grey in (100, 102))
    full[:4] = 50
    off_by_two[:4] = 52

    speed, quality, share = compare("x", [{"full": Timed(3.0, full), "x": Timed(2.0, off_by_two)}])

    assert (speed.value, quality.value, share.value) == (1.5, 42.1, 0.0)
    assert psnr(np.zeros(3)) == math.inf
