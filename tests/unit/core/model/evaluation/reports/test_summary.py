"""Tables of metrics: targets are judged, intervals match textbook formulas, missing values are left out."""

from dataclasses import replace

import numpy as np
import pytest

from core.model.evaluation.metrics.measurements import Measured
from core.model.evaluation.reports.summary import FIRST_CHUNK, LONG_VIDEO, SEAMS, as_markdown, row_of, summarise, wilson
from tests.helpers.figures import PERFECT

ALL = (*FIRST_CHUNK, *LONG_VIDEO, *SEAMS)


def test_perfect_videos_meet_every_target() -> None:
    rows = summarise([PERFECT] * 50, ALL)
    assert len(rows) == len(ALL)
    assert all(row.is_met is not False for row in rows)
    assert "missed" not in as_markdown(rows)


def test_a_missed_target_is_marked() -> None:
    wrong = replace(PERFECT, video=replace(PERFECT.video, colour_right=False, seam_ratio=1.4), cuts=1)
    rows = {row.name: row for row in summarise([wrong] * 50, ALL)}
    missed = {name for name, row in rows.items() if row.is_met is False}
    assert missed == {
        "colour right",
        "step across chunk borders over step inside",
        "videos without a hard cut",
    }
    assert as_markdown(list(rows.values())).count("| missed |") == 3


def test_scenes_of_two_objects_have_their_own_rows() -> None:
    alone = replace(PERFECT, video=replace(PERFECT.video, num_sprites=1, shape_right=False))
    rows = {row.name: row for row in summarise([PERFECT, alone], FIRST_CHUNK)}
    assert rows["shape right"].value == 0.5
    assert rows["scenes of two objects: shapes right"].value == 1.0
    assert rows["scenes of two objects: shapes right"].count == 1


def test_metrics_without_values_are_left_out() -> None:
    still = replace(PERFECT.video, texture_kept=None, motion_kept=None, seam_ratio=None)
    rows = summarise([Measured(still, PERFECT.flow, None, PERFECT.tower)], (*LONG_VIDEO, *SEAMS))
    left_out = {metric.name for metric in (*LONG_VIDEO, *SEAMS)} - {row.name for row in rows}
    assert left_out == {
        "texture kept (correlation)",
        "motion kept (last chunk over first)",
        "videos without a hard cut",
        "step across chunk borders over step inside",
    }


def test_shares_have_the_interval_of_wilson() -> None:
    low, high = wilson(0.9, 50)  # a textbook example
    assert (low, high) == (pytest.approx(0.7864, abs=1e-4), pytest.approx(0.9565, abs=1e-4))
    assert wilson(1.0, 50)[1] == 1.0


def test_means_have_the_interval_of_their_resampled_means() -> None:
    values = np.random.default_rng(1).normal(size=400)
    row = row_of("mean", list(values))
    half = 1.96 * values.std() / 20
    assert row.value == pytest.approx(values.mean())
    assert (row.low, row.high) == (
        pytest.approx(row.value - half, abs=0.01),
        pytest.approx(row.value + half, abs=0.01),
    )


def test_upper_bounds_are_in_the_row() -> None:
    table = as_markdown(summarise([PERFECT], FIRST_CHUNK), {"colour right": 0.77})
    (line,) = [line for line in table.splitlines() if line.startswith("| colour right")]
    assert "| 0.77 |" in line
