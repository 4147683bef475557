"""Drift of videos that change as is known."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.metrics.video.drift import SHARPNESS_FLOOR, Drift, luma_of, saturation, sharpness
from core.metrics.video.metric import VideoMetrics, measure
from core.service.domain.engine import FrameHWC
from tests.helpers.moving import fade, flicker, pan, texture

DRIFTS = ("saturation_drift", "contrast_drift", "sharpness_drift")
SLOPES = ("saturation_slope", "contrast_slope", "sharpness_slope")


def drift(frames: Iterable[FrameHWC]) -> VideoMetrics:
    return measure(frames, [Drift()])


def number(metrics: VideoMetrics, name: str) -> float:
    value = metrics.values[name]
    assert value is not None, (name, metrics.notes)
    return float(value)


def to_grey(num_frames: int) -> list[FrameHWC]:
    """A picture of full saturation that goes evenly to white."""
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    return [red + np.array([0, 2, 2], np.uint8) * np.uint8(number) for number in range(num_frames)]


@pytest.mark.parametrize(
    ("colour", "expected"),
    [((0, 0, 0), 0), ((9, 9, 9), 0), ((255, 0, 0), 1), ((0, 7, 0), 1), ((200, 150, 100), 0.5), ((64, 128, 128), 0.5)],
)
def test_saturation_is_that_of_hsv(colour: tuple[int, int, int], expected: float) -> None:
    assert saturation(np.full((3, 4, 3), colour, np.uint8)) == pytest.approx(expected)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    frame = texture(9, 7)
    luma = luma_of(frame)
    assert luma == pytest.approx(frame.astype(float) @ [0.299, 0.587, 0.114], abs=1e-3)
    laplacians = [
        luma[y - 1, x] + luma[y + 1, x] + luma[y, x - 1] + luma[y, x + 1] - 4 * luma[y, x]
        for y in range(1, 8)
        for x in range(1, 6)
    ]
    assert sharpness(luma) == pytest.approx(np.var(laplacians), rel=1e-4)
    assert sharpness(luma[:2]) == 0


def test_colour_that_fades_evenly_has_its_slope() -> None:
    metrics = drift(to_grey(40))
    # Saturation is 1 - 2 n / 200.
    assert number(metrics, "saturation_slope") == pytest.approx(-1, rel=1e-6)
    assert number(metrics, "saturation_drift") == pytest.approx(-0.3, rel=1e-6)
    assert number(metrics, "contrast_drift") == pytest.approx(0, abs=1e-6)


def test_a_fade_to_black_loses_contrast_and_sharpness_evenly() -> None:
    metrics = drift(fade(50))
    contrast = float(luma_of(texture(96, 128)).std()) / 255
    assert number(metrics, "contrast_slope") == pytest.approx(-2 * contrast, rel=0.01)
    # 12 frames of each end: their means are 38 of 50 steps apart.
    assert number(metrics, "contrast_drift") == pytest.approx(-38 / 50 * contrast, rel=0.01)
    # Sharpness goes with the square of contrast, but for the noise of rounding, which does not fade.
    assert 2 * np.log2(6.5 / 44.5) < number(metrics, "sharpness_drift") < -3


def test_blur_loses_sharpness_and_keeps_the_rest() -> None:
    sharp = texture(64, 64, smooth=1)
    blurred = np.mean([np.roll(sharp, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)], axis=0).astype(np.uint8)
    metrics = drift([sharp] * 6 + [blurred] * 6)
    expected = np.log2(sharpness(luma_of(blurred)) / sharpness(luma_of(sharp)))
    assert number(metrics, "sharpness_drift") == pytest.approx(expected)
    assert expected < -1
    assert number(metrics, "sharpness_slope") < 0


@pytest.mark.parametrize("frames", [flicker(40), [texture(20, 30)] * 7, pan([0] * 9)])
def test_what_stays_as_it_is_does_not_drift(frames: Iterable[FrameHWC]) -> None:
    metrics = drift(frames)
    for name in DRIFTS:
        assert number(metrics, name) == pytest.approx(0, abs=1e-9)


def test_a_flat_video_has_no_sharpness_to_drift_from() -> None:
    metrics = drift([np.full((8, 8, 3), 77, np.uint8)] * 4)
    assert metrics.values["sharpness_drift"] is None
    assert metrics.values["sharpness_slope"] is None
    assert metrics.values["contrast_drift"] == 0
    assert any("flat" in note for note in metrics.notes)


def test_a_black_start_or_end_has_a_bounded_drift_and_a_note() -> None:
    black, picture = np.zeros((32, 32, 3), np.uint8), texture(32, 32, smooth=1)
    expected = np.log2(sharpness(luma_of(picture)) / SHARPNESS_FLOOR)
    assert expected < 20
    for frames, sign, where in (([black] * 8 + [picture] * 8, 1, "first"), ([picture] * 8 + [black] * 8, -1, "last")):
        metrics = drift(frames)
        assert number(metrics, "sharpness_drift") == pytest.approx(sign * expected)
        # All of the change lies between two neighbours of 16 frames.
        assert 0 < sign * number(metrics, "sharpness_slope") < 100 * expected
        assert any(f"the {where} quarter are flat" in note for note in metrics.notes)


def test_sharpness_that_doubles_evenly_has_its_slope() -> None:
    """Contrast that grows by the root of 2 in each 10 frames."""
    picture = texture(64, 64, smooth=1).astype(float) - 128
    frames = [(128 + picture / 8 * 2 ** (number / 20)).round().astype(np.uint8) for number in range(41)]
    metrics = drift(frames)
    assert number(metrics, "sharpness_slope") == pytest.approx(10, rel=0.02)
    # The middles of the quarters are 31 frames apart.
    assert number(metrics, "sharpness_drift") == pytest.approx(3.1, rel=0.02)


@pytest.mark.parametrize(("height", "width"), [(2, 9), (9, 2), (1, 1)])
def test_frames_below_three_pixels_have_no_sharpness_and_the_note_says_so(height: int, width: int) -> None:
    metrics = drift([texture(height, width)] * 5)
    assert metrics.values["sharpness_drift"] is None
    assert list(metrics.notes) == ["Sharpness needs frames of 3x3 pixels or more."]


def test_one_frame_says_nothing() -> None:
    metrics = drift([texture(8, 8)])
    assert set(metrics.values.values()) == {None}
    assert any("two frames" in note for note in metrics.notes)


def test_two_frames_are_a_first_and_a_last_quarter() -> None:
    first, last = texture(8, 8), texture(8, 8, seed=1)
    assert number(drift([first, last]), "saturation_drift") == pytest.approx(saturation(last) - saturation(first))


def test_repeated_frames_are_counted() -> None:
    frames = list(pan([2] * 9))
    assert number(drift(frames), "duplicate_ratio") == 0
    assert number(drift([frames[0]] * 10), "duplicate_ratio") == 1
    # 20 frames have 19 before them, 10 of which are the same.
    assert number(drift([frame for frame in frames for _ in range(2)]), "duplicate_ratio") == 10 / 19


@pytest.mark.parametrize(("changed", "repeated"), [(25, True), (26, False)])
def test_a_difference_below_a_thousandth_is_a_repetition(changed: int, repeated: bool) -> None:
    """100 values of 0 to 255: changing 25 of them by 1 is 0.25 of 0.255 grey levels."""
    first = np.full((10, 10, 3), 100, np.uint8)
    second = first.copy()
    second.reshape(-1)[: 3 * changed] += 1
    assert number(drift([first, second]), "duplicate_ratio") == repeated


def test_the_caller_may_reuse_its_array() -> None:
    buffer, metric = np.empty((20, 30, 3), np.uint8), Drift()
    for frame in pan([2] * 5, 20, 30):
        buffer[:] = frame
        metric.add(buffer)
    assert metric.values()["duplicate_ratio"] == 0


def test_another_size_within_a_video_is_refused() -> None:
    metric = Drift()
    metric.add(texture(40, 50))
    with pytest.raises(ValueError, match="follows frames of 50x40"):
        metric.add(texture(50, 40))


videos = st.lists(st.integers(0, 8), min_size=2, max_size=14).map(
    lambda seeds: [texture(12, 10, seed, smooth=1) for seed in seeds]
)


@settings(max_examples=25, deadline=None)
@given(frames=videos)
def test_a_video_backwards_drifts_the_other_way(frames: list[FrameHWC]) -> None:
    forwards, backwards = drift(frames), drift(frames[::-1])
    for name in (*DRIFTS, *SLOPES):
        assert number(backwards, name) == pytest.approx(-number(forwards, name), abs=1e-9)
    assert backwards.values["duplicate_ratio"] == forwards.values["duplicate_ratio"]


@settings(max_examples=25, deadline=None)
@given(frames=videos, by=st.integers(1, 127))
def test_the_same_brightness_added_everywhere_changes_neither_contrast_nor_sharpness(
    frames: list[FrameHWC], by: int
) -> None:
    dark = [frame // 2 for frame in frames]
    before, after = drift(dark), drift([frame + np.uint8(by) for frame in dark])
    for name in ("contrast_drift", "contrast_slope", "sharpness_drift", "sharpness_slope", "duplicate_ratio"):
        # The Laplacian of a smooth and bright picture is a small difference of large float32 numbers.
        assert number(after, name) == pytest.approx(number(before, name), abs=2e-3, rel=2e-3)


@settings(max_examples=25, deadline=None)
@given(frames=videos)
def test_each_frame_shown_twice_halves_the_slopes_and_keeps_the_drift(frames: list[FrameHWC]) -> None:
    fours = frames[: len(frames) // 4 * 4]
    if not fours:
        fours = [*frames, *frames, *frames, *frames]
    once, twice = drift(fours), drift([frame for frame in fours for _ in range(2)])
    for name in DRIFTS:
        assert number(twice, name) == pytest.approx(number(once, name), abs=1e-9)
    n = len(fours)
    # Pairs of equal values make a line steeper by (4 n^2 - 4) / (4 n^2 - 1) than halved.
    for name in SLOPES:
        assert number(twice, name) == pytest.approx(number(once, name) / 2 * (4 * n**2 - 4) / (4 * n**2 - 1), abs=1e-9)
