"""The GPU benchmark of the refiner runs, at toy size on a CPU, through the compiler it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.cuda_refiner import MODES, TOY, Timed, make_refiner, refiner_figures, time_window


def test_a_second_window_of_sixteen_new_frames_is_timed() -> None:
    calls = list[str]()

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any) -> Any:
            calls.append(function.__name__)
            return function(*given)

        return counted

    timed = time_window(make_refiner(TOY, torch.float32, torch.device("cpu"), counting), TOY)

    assert timed.seconds > 0
    # The last window publishes what the first left for blending, too.
    assert timed.frames.shape == (24, TOY.refined, TOY.refined, 3)
    assert calls == ["predict_base"] * 2 * TOY.steps


@pytest.mark.parametrize("name", MODES)
def test_without_a_gpu_nothing_is_said_to_be_measured(name: str) -> None:
    assert {figure.value_text for figure in refiner_figures(name, None)} == {"not measured"}


def test_the_compiled_mode_is_judged_by_the_target_of_one_h200() -> None:
    nothing = np.empty((0, 0, 0, 3), np.uint8)
    speed, memory = refiner_figures("compiled", Timed(19.0, 23.0, nothing))
    slow, large = refiner_figures("eager", Timed(21.0, 25.0, nothing))
    assert (speed.met, memory.met, slow.met, large.met) == (True, True, None, False)
