"""The flow of OpenCV on motion that is known."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest

from core.metrics.video.flow import DisFlow, dis_flow
from tests.helpers.moving import pan, texture


@pytest.mark.parametrize("step", [0, 1, 3, 7, 12])
def test_a_pan_moves_by_its_pixels(step: int) -> None:
    first, second = pan([step], 240, 320)
    flow = DisFlow()(first, second)
    inside = flow[16:-16, 16:-16]
    assert inside.mean(axis=(0, 1)) == pytest.approx([-step, 0], abs=0.02 + 0.01 * step)


def test_equal_frames_have_no_flow() -> None:
    frame = texture(90, 160)
    assert not DisFlow()(frame, frame).any()


def test_the_number_of_threads_changes_nothing() -> None:
    first, second = pan([5], 240, 320)
    before = cv2.getNumThreads()
    flows = []
    try:
        for threads in (1, 2, 5):
            cv2.setNumThreads(threads)
            flows.append(DisFlow()(first, second))
    finally:
        cv2.setNumThreads(before)
    assert np.array_equal(flows[0], flows[1])
    assert np.array_equal(flows[0], flows[2])


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 40), (3, 3), (8, 8), (11, 11), (12, 12), (15, 16), (17, 5), (33, 47), (5, 700)]
)
def test_frames_may_be_tiny_and_odd(height: int, width: int) -> None:
    first, second = pan([1], height, width)
    flow = DisFlow()(first, second)
    assert flow.shape == (height, width, 2)
    assert flow.dtype == np.float32
    assert np.isfinite(flow).all()


def test_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        DisFlow()(texture(20, 30), texture(30, 20))


def test_without_opencv_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dis_flow() is not None
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert dis_flow() is None
