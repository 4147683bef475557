"""The seam score against its formula over all values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.metrics.video.seams import Borders, Seams


def seams_of(motions: list[float], borders: Borders | None) -> Seams:
    """`motions`: m_t of frame 1, 2, 3 and so on."""
    seams = Seams(borders)
    for frame, motion in enumerate(motions, start=1):
        seams.add(frame, motion)
    return seams


def test_chunks_and_windows_begin_where_they_are_said_to() -> None:
    assert [frame for frame in range(60) if Borders(16, 16).begins(frame)] == [16, 32, 48]
    assert [frame for frame in range(40) if Borders(16, 8).begins(frame)] == [16, 24, 32]
    assert [frame for frame in range(4) if Borders(1, 1).begins(frame)] == [1, 2, 3]


@pytest.mark.parametrize(("first", "step"), [(0, 16), (16, 0), (-1, 8)])
def test_borders_that_cannot_be_are_refused(first: int, step: int) -> None:
    with pytest.raises(ValueError, match="from 1 on"):
        Borders(first, step)


@settings(max_examples=60, deadline=None)
@given(motions=st.lists(st.floats(0, 50), min_size=12, max_size=80), step=st.integers(2, 6))
def test_score_and_deviation_are_their_formulas(motions: list[float], step: int) -> None:
    seams = seams_of(motions, Borders(step, step))
    values = np.array(motions)
    at_borders = np.arange(1, len(values) + 1) % step == 0
    inside = values[~at_borders]
    assert seams.flow_std == pytest.approx(values.std(), abs=1e-6)
    if inside.std() > 1e-3:
        expected = np.sqrt(np.mean((values[at_borders] - inside.mean()) ** 2)) / inside.std()
        assert seams.score == pytest.approx(expected, rel=1e-6)


def test_borders_that_move_like_the_rest_score_one() -> None:
    motions = np.random.default_rng(0).normal(5, 1, 8000).tolist()
    assert seams_of(motions, Borders(4, 4)).score == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("at_border", [9.0, 1.0])
def test_a_jump_or_a_halt_at_every_border_counts_though_it_is_always_the_same(at_border: float) -> None:
    inside = np.random.default_rng(0).normal(5, 0.5, 64)
    motions = [at_border if frame % 16 == 0 else float(inside[frame]) for frame in range(1, 64)]
    assert seams_of(motions, Borders(16, 16)).score == pytest.approx(8, rel=0.25)


@pytest.mark.parametrize(
    ("motions", "borders", "reason"),
    [
        ([1.0, 2.0, 3.0], None, "where windows begin is not known"),
        ([1.0, 2.0, 3.0], Borders(16, 16), "no border between windows"),
        ([2.0, 2.0, 9.0, 2.0], Borders(3, 3), "never changes"),
        ([1.0, 9.0], Borders(2, 2), "fewer than two pairs"),
    ],
)
def test_without_a_score_there_is_a_reason(motions: list[float], borders: Borders | None, reason: str) -> None:
    seams = seams_of(motions, borders)
    assert seams.score is None
    assert reason in (seams.reason or "")
