"""The refinement benchmark: what it runs, and its targets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.refinement import Measured, figures_of, growth, measure_here
from core.service.domain.schema import RefineSchedule
from tests.helpers.random_preset import write_random_preset


@pytest.mark.parametrize("schedule", ["streaming", "lockstep"])
def test_a_short_video_can_be_measured(tmp_path: Path, schedule: RefineSchedule) -> None:
    assert measure_here(write_random_preset(tmp_path), schedule, 1).seconds_per_frame > 0


HOLD_AND_LET_GO = """
import numpy as np
from benchmarks.refinement import reset_peak, peak

knows_peak, before = reset_peak(), peak()
block = np.ones(8_000_000)
del block
print(peak() - before if knows_peak else "unknown")
"""


def test_peak_counts_what_was_held_and_let_go() -> None:
    """In a process of its own, as the benchmark measures: one with a past hands memory back meanwhile."""
    command = [sys.executable, "-c", HOLD_AND_LET_GO]
    grown = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    if grown == "unknown":
        pytest.skip("this system does not tell a process' peak")
    assert float(grown) > 50e6


@pytest.mark.parametrize(("megabytes", "met"), [((100.0, 104.0, 109.0), True), ((100.0, 90.0, 112.0), False)])
def test_streaming_is_flat_within_ten_percent(megabytes: tuple[float, ...], met: bool) -> None:
    assert growth("streaming", "memory", [Measured(1.0, value) for value in megabytes]).met is met


def test_lockstep_promises_no_flat_memory() -> None:
    figure = growth("lockstep", "memory", [Measured(1.0, value) for value in (100.0, 150.0, 900.0)])
    assert (figure.value, figure.met) == (9.0, None)


def test_memory_that_the_system_does_not_report_is_not_measured() -> None:
    assert growth("streaming", "memory", [Measured(1.0, None)] * 3).value_text == "not measured"
    _, as_it_is, needed = figures_of("streaming", 48, Measured(0.5, None), Measured(1.0, None))
    assert (as_it_is.value_text, needed.value_text) == ("not measured", "not measured")
