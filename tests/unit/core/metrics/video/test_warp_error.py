"""MAWE, motion and seams on videos whose motion is known."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from core.metrics.video.all_metrics import cheap_metrics
from core.metrics.video.flow import DIS, OPENCV_MISSING, DisFlow
from core.metrics.video.metric import Flow, VideoMetrics, measure
from core.metrics.video.seams import Borders
from core.metrics.video.warp_error import MOTION_FLOOR, WarpError
from core.service.domain.engine import FrameHWC
from tests.helpers.moving import KnownFlow, fade, flicker, pan, texture

MAWE = ("mawe_v1", "mawe_v2", "mawe_code")


def flow_metrics(
    frames: Iterable[FrameHWC], flow: Flow | None = None, size: int | None = None, borders: Borders | None = None
) -> VideoMetrics:
    return measure(frames, [WarpError(flow or DisFlow(), size, borders)], DIS)


def number(metrics: VideoMetrics, name: str) -> float:
    value = metrics.values[name]
    assert value is not None, (name, metrics.notes)
    return float(value)


def test_the_published_mawe_is_met(repository: Path) -> None:
    stored = load_file(repository / "tests" / "references" / "mawe_warp.safetensors")
    flows = iter(stored["in.flows"].transpose(0, 2, 3, 1))

    class Stored:
        name = "stored"

        def __call__(self, first: FrameHWC, second: FrameHWC) -> np.ndarray:
            del first, second
            return next(flows)

    metrics = flow_metrics(list(stored["in.frames_uint8"].transpose(0, 2, 3, 1)), Stored())
    assert metrics.values["mawe_code"] == pytest.approx(stored["out.mawe"][0], rel=1e-5)
    assert metrics.values["mawe_v1"] == pytest.approx(130.6368312171696, rel=1e-5)
    assert list(metrics.curves["ofs"].values) == pytest.approx(stored["out.pair_mean_flow_norm"].tolist(), rel=1e-5)


@pytest.mark.parametrize("step", [1, 4, 9])
def test_a_pan_of_n_pixels_has_an_ofs_of_n(step: int) -> None:
    metrics = flow_metrics(pan([step] * 3, 240, 320))
    assert number(metrics, "ofs") == pytest.approx(step, rel=0.05)
    assert number(metrics, "ofs_squared") == pytest.approx(step**2, rel=0.12)
    assert number(metrics, "flow_std") < 0.05 * step
    # What the flow explains is no error: far below that of the same frames without motion compensation.
    assert number(metrics, "warp_error") < 0.1 * number(flow_metrics(pan([step] * 3, 240, 320), STILL), "warp_error")


STILL = KnownFlow((0, 0))


def test_definitions_are_ratios_of_different_means() -> None:
    """Motion of 3, 4 and 5 pixels, and frames of one colour, whose errors are squares of the differences."""
    frames = [np.full((12, 10, 3), level, np.uint8) for level in (0, 10, 0, 20)]
    metrics = flow_metrics(frames, KnownFlow((3, 0), (0, -4), (3, 4)))
    errors, lengths = np.array([100, 100, 400]), np.array([3, 4, 5])
    assert number(metrics, "warp_error") == pytest.approx(errors.mean())
    assert number(metrics, "ofs") == pytest.approx(4)
    assert number(metrics, "ofs_squared") == pytest.approx(50 / 3)
    assert number(metrics, "mawe_v1") == pytest.approx(errors.mean() / (9.5 * 4))
    assert number(metrics, "mawe_v2") == pytest.approx(errors.mean() / (50 / 3))
    assert number(metrics, "mawe_code") == pytest.approx((errors / (9.5 * lengths)).mean())
    assert number(metrics, "flow_std") == pytest.approx(lengths.std())
    assert number(metrics, "motion_drift") == pytest.approx(np.log2(5 / 3))


def test_frames_are_measured_at_the_size_asked_for() -> None:
    small, large = (number(flow_metrics(pan([4, 4], 180, 180), size=size), "ofs") for size in (None, 360))
    assert large == pytest.approx(2 * small, rel=0.05)


def test_frames_of_any_shape_become_squares() -> None:
    """As published: a pan of 6 of 240 pixels is one of 3 of 120."""
    assert number(flow_metrics(pan([6, 6], 120, 240), size=120), "ofs") == pytest.approx(3, rel=0.06)


def test_a_frozen_video_has_no_mawe_and_says_so() -> None:
    metrics = flow_metrics([texture(60, 80)] * 5, borders=Borders(2, 2))
    assert metrics.values["ofs"] == 0
    assert metrics.values["warp_error"] == 0
    assert metrics.values["flow_std"] == 0
    assert [metrics.values[name] for name in (*MAWE, "seam_score", "motion_drift")] == [None] * 5
    assert any("nothing moves" in note and "MAWE" in note for note in metrics.notes)
    assert any("seam score" in note for note in metrics.notes)


def test_a_pair_that_stands_still_takes_only_the_mean_of_ratios() -> None:
    metrics = flow_metrics(pan([2, 0, 2]))
    assert metrics.values["mawe_code"] is None
    # All of a pan by whole pixels is explained.
    assert (metrics.values["mawe_v1"], metrics.values["mawe_v2"]) == (0, 0)
    assert "nothing moves in 1 of 3" in " ".join(metrics.notes)


def test_a_flow_out_of_the_frame_is_noted() -> None:
    metrics = flow_metrics(pan([1, 1]), KnownFlow((1, 0), (1e6, 0)))
    assert any("in 1 of 2 pairs" in note for note in metrics.notes)


def test_one_frame_says_nothing() -> None:
    metrics = flow_metrics(pan([]))
    assert set(metrics.values.values()) == {None}
    assert metrics.curves == {}
    assert list(metrics.notes) == ["Flow metrics need a video of two frames or more."]


def test_two_frames_have_one_pair() -> None:
    metrics = flow_metrics(pan([3]))
    assert number(metrics, "ofs") == pytest.approx(3, rel=0.1)
    assert metrics.values["flow_std"] == 0
    assert metrics.values["motion_drift"] is None
    assert any("three frames" in note for note in metrics.notes)


@pytest.mark.parametrize(("height", "width", "size"), [(1, 1, None), (5, 3, None), (33, 47, None), (7, 9, 16)])
def test_tiny_and_odd_frames(height: int, width: int, size: int | None) -> None:
    metrics = flow_metrics(pan([1, 1], height, width), size=size)
    assert np.isfinite([value for value in metrics.values.values() if value is not None]).all()
    assert metrics.values["ofs"] is not None


def test_another_size_within_a_video_is_refused() -> None:
    metric = WarpError(DisFlow(), 32)
    metric.add(texture(40, 50))
    with pytest.raises(ValueError, match="A frame of 40x50 follows frames of 50x40"):
        metric.add(texture(50, 40))


@pytest.mark.parametrize("frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3))])
def test_what_is_no_picture_is_refused(frame: np.ndarray) -> None:
    for metric in cheap_metrics(24, None):
        with pytest.raises(ValueError, match=r"A frame is uint8 \[height, width, 3\]"):
            metric.add(frame)


def test_a_flow_that_is_not_finite_is_refused() -> None:
    metric = WarpError(KnownFlow((float("nan"), 0)), None)
    metric.add(texture(8, 8))
    with pytest.raises(ValueError, match="The flow known to frame 1 is not finite"):
        metric.add(texture(8, 8))


def test_the_caller_may_reuse_its_array() -> None:
    apart = flow_metrics(pan([3, 5, 2], 60, 80)).values
    metric, buffer = WarpError(DisFlow(), None), np.empty((60, 80, 3), np.uint8)
    for frame in pan([3, 5, 2], 60, 80):
        buffer[:] = frame
        metric.add(buffer)
    assert metric.values() == apart


def test_values_may_be_asked_of_every_prefix() -> None:
    frames, metric = list(pan([1, 3, 2, 4], 60, 80)), WarpError(DisFlow(), None, Borders(2, 2))
    for count, frame in enumerate(frames, start=1):
        metric.add(frame)
        assert metric.values() == flow_metrics(frames[:count], borders=Borders(2, 2)).values


def test_a_planted_seam_is_found() -> None:
    def steps(at_border: int) -> Sequence[int]:
        return [at_border if frame % 8 == 0 else 2 + frame % 2 for frame in range(1, 32)]

    with_seam, without = (flow_metrics(pan(steps(step), 64, 96), borders=Borders(8, 8)) for step in (9, 2))
    assert number(with_seam, "seam_score") > 5 > 2 > number(without, "seam_score")
    assert number(with_seam, "flow_std") > 3 * number(without, "flow_std")


def test_a_note_names_the_borders_of_the_seam_score() -> None:
    notes = flow_metrics(pan([1, 2, 3, 1, 2, 3], 48, 64), borders=Borders(3, 2)).notes
    assert "The seam score is of borders every 2 frames from 3 on." in notes


def test_without_knowing_chunks_there_is_no_seam_score() -> None:
    metrics = flow_metrics(pan([1, 2, 3]))
    assert metrics.values["seam_score"] is None
    assert number(metrics, "flow_std") > 0
    assert any("where windows begin is not known" in note for note in metrics.notes)


def test_motion_that_stops_drifts() -> None:
    slowing = flow_metrics(pan([8] * 4 + [4] * 4 + [2] * 4, 64, 96))
    assert number(slowing, "motion_drift") == pytest.approx(-2, abs=0.15)
    assert number(flow_metrics(pan([3] * 9, 64, 96)), "motion_drift") == pytest.approx(0, abs=0.05)


def test_motion_from_or_to_a_halt_drifts_by_a_bounded_number_and_says_so() -> None:
    expected = np.log2(4 / MOTION_FLOOR)
    for steps, sign, where in (([0] * 6 + [4] * 6, 1, "first"), ([4] * 6 + [0] * 6, -1, "last")):
        metrics = flow_metrics(pan(steps, 64, 96), KnownFlow(*[(float(step), 0.0) for step in steps]))
        assert number(metrics, "motion_drift") == pytest.approx(sign * expected)
        assert any(f"Nothing moves in the {where} quarter" in note for note in metrics.notes)


def test_flicker_and_fade_are_worse_than_a_pan() -> None:
    panned, flickering, fading = (
        number(flow_metrics(frames), "warp_error") for frames in (pan([2] * 11), flicker(12), fade(12))
    )
    assert flickering > 100 * panned
    assert fading > panned


def test_without_opencv_nothing_is_measured_and_a_note_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    metrics = measure(pan([1, 2]), cheap_metrics(24, 64))
    assert {metrics.values[name] for name in (*MAWE, "ofs", "ofs_squared", "warp_error", "flow_std")} == {None}
    assert OPENCV_MISSING in metrics.notes
    assert metrics.values["saturation_drift"] is not None


VIDEOS = st.lists(st.integers(0, 6), min_size=3, max_size=6)
"""Steps of pans."""


@settings(max_examples=8, deadline=None)
@given(steps=VIDEOS, seed=st.integers(0, 20))
def test_a_video_backwards_moves_as_much(steps: list[int], seed: int) -> None:
    frames = list(pan(steps, 80, 112, seed))
    forwards, backwards = flow_metrics(frames), flow_metrics(frames[::-1])
    for name in ("ofs", "flow_std"):
        assert number(backwards, name) == pytest.approx(number(forwards, name), rel=0.1, abs=0.05)


@settings(max_examples=8, deadline=None)
@given(steps=VIDEOS, by=st.integers(1, 40))
def test_the_same_brightness_added_everywhere_changes_no_motion_and_no_error(steps: list[int], by: int) -> None:
    dark = [frame // 2 for frame in pan(steps, 80, 112)]
    bright = [frame + np.uint8(by) for frame in dark]
    before, after = flow_metrics(dark), flow_metrics(bright)
    assert number(after, "ofs") == pytest.approx(number(before, "ofs"), rel=0.02, abs=0.02)
    assert number(after, "warp_error") == pytest.approx(number(before, "warp_error"), rel=0.1, abs=0.5)


@settings(max_examples=8, deadline=None)
@given(steps=VIDEOS.filter(any))
def test_each_frame_shown_twice_halves_motion_and_error_but_no_ratio_of_them(steps: list[int]) -> None:
    frames = list(pan(steps, 80, 112))
    once, twice = flow_metrics(frames), flow_metrics([frame for frame in frames for _ in range(2)])
    share = len(steps) / (2 * len(steps) + 1)
    for name in ("ofs", "ofs_squared", "warp_error"):
        assert number(twice, name) == pytest.approx(share * number(once, name), abs=1e-9)
    for name in ("mawe_v1", "mawe_v2"):
        assert number(twice, name) == pytest.approx(number(once, name))
    # The published code divides by zero here.
    assert twice.values["mawe_code"] is None
