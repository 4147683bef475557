"""Forward warping against the published code's numbers, and against its rule written down pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load_file

from core.metrics.video.metric import FlowHW2
from core.metrics.video.warp import Warped, forward_warp, pair_error
from core.service.domain.engine import FrameHWC
from tests.helpers.moving import texture


def shift(height: int, width: int, x: float, y: float) -> FlowHW2:
    flow = np.empty((height, width, 2), np.float32)
    flow[:] = (x, y)
    return flow


def warped_slowly(frame: FrameHWC, flow: FlowHW2) -> tuple[FrameHWC, np.ndarray]:
    """The rule in words: pixels in raster order, each to the nearest place, later ones over earlier ones."""
    height, width = frame.shape[:2]
    result, holes = np.zeros_like(frame), np.ones((height, width), bool)
    for row in range(height):
        for column in range(width):
            # numpy rounds halves to even, as Python does.
            x, y = np.float32(column) + flow[row, column, 0], np.float32(row) + flow[row, column, 1]
            if not (np.isfinite(x) and np.isfinite(y)):
                continue
            to_x, to_y = round(float(x)), round(float(y))
            if 0 <= to_x < width and 0 <= to_y < height:
                result[to_y, to_x], holes[to_y, to_x] = frame[row, column], False
    return result, holes


def test_the_published_warp_is_met_exactly(repository: Path) -> None:
    stored = load_file(repository / "tests" / "references" / "mawe_warp.safetensors")
    frames = stored["in.frames_uint8"].transpose(0, 2, 3, 1)
    for number, flow in enumerate(stored["in.flows"].transpose(0, 2, 3, 1)):
        warped = forward_warp(frames[number], flow)
        assert np.array_equal(warped.frame.transpose(2, 0, 1), stored["out.warped"][number])
        assert np.array_equal(warped.holes, stored["out.hole_mask"][number])
        error = pair_error(frames[number + 1], warped)
        assert error == pytest.approx(stored["out.pair_warp_error"][number], rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    flow=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(2)),
        elements=st.one_of(
            st.sampled_from([0.5, -0.5, 1.5, -2.5, 1e30, -1e30, float("nan"), float("inf"), -float("inf")]),
            st.floats(-8, 8, width=32),
        ),
    ),
    seed=st.integers(0, 1000),
)
def test_any_flow_warps_as_the_rule_says(flow: FlowHW2, seed: int) -> None:
    frame = np.random.default_rng(seed).integers(0, 256, (*flow.shape[:2], 3), dtype=np.uint8)
    expected, holes = warped_slowly(frame, flow)
    warped = forward_warp(frame, flow)
    assert np.array_equal(warped.frame, expected)
    assert np.array_equal(warped.holes, holes)


def test_a_shift_moves_the_picture_and_leaves_holes_behind() -> None:
    frame = texture(20, 30)
    warped = forward_warp(frame, shift(20, 30, 3, -2))
    assert np.array_equal(warped.frame[:18, 3:], frame[2:, :27])
    assert warped.holes[18:].all()
    assert warped.holes[:, :3].all()
    assert not warped.holes[:18, 3:].any()


def test_halves_go_to_even_places() -> None:
    frame = texture(1, 6)
    warped = forward_warp(frame, shift(1, 6, 0.5, 0))
    # 0.5, 1.5, 2.5, 3.5, 4.5, 5.5 become 0, 2, 2, 4, 4, 6.
    assert np.array_equal(np.flatnonzero(~warped.holes[0]), [0, 2, 4])
    assert np.array_equal(warped.frame[0, [0, 2, 4]], frame[0, [0, 2, 4]])


def test_the_last_in_raster_order_stays() -> None:
    frame = texture(4, 5)
    flow = np.stack(np.meshgrid(2.0 - np.arange(5), 1.0 - np.arange(4)), axis=-1).astype(np.float32)
    warped = forward_warp(frame, flow)
    assert np.array_equal(warped.frame[1, 2], frame[3, 4])
    assert np.count_nonzero(~warped.holes) == 1


def test_only_what_is_no_hole_counts() -> None:
    second = np.full((2, 2, 3), 10, np.uint8)
    warped = Warped(np.full((2, 2, 3), 7, np.uint8), np.array([[True, False], [True, True]]))
    assert pair_error(second, warped) == 9
    assert pair_error(np.zeros((2, 2, 3), np.uint8), Warped(np.full((2, 2, 3), 255, np.uint8), ~warped.holes)) == 65025


def test_all_holes_are_no_error_as_published() -> None:
    frame = texture(8, 8)
    warped = forward_warp(frame, shift(8, 8, 100, 0))
    assert warped.holes.all()
    assert pair_error(frame, warped) == 0


def test_a_flow_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame of 30x20 needs"):
        forward_warp(texture(20, 30), shift(30, 20, 0, 0))
