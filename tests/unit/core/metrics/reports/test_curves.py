"""Curves of videos and their means: which frame a value stands at, and what videos of several lengths give."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

import pytest

from core.metrics.evaluation.results import Results, StoredCurve
from core.metrics.reports.curves import mean_curve, mean_curves, video_curves
from core.metrics.reports.markup import element
from core.metrics.video.facts import FACTS
from tests.helpers.evaluated import facts


def curve(values: Sequence[float | None], step: int = 1, first: int = 0) -> StoredCurve:
    return StoredCurve(step=step, first=first, values=tuple(values))


def places(plot: Element) -> list[float]:
    """From left to right, in frames of a video of 24."""
    [line] = plot.iter("polyline")
    found = [float(pair.split(",")[0]) for pair in (line.get("points") or "").split()]
    return [round((place - 74) / (480 - 14 - 74) * 24, 1) for place in found]


def of_video(results: Results, stored: StoredCurve) -> Element:
    video = results.videos[0]
    measured = video.measured.model_copy(update={"curves": {"ofs": stored}})
    return video_curves(video.model_copy(update={"measured": measured}), FACTS, element("figure"))


def test_a_value_of_a_pair_stands_at_its_second_frame(results: Results) -> None:
    assert places(of_video(results, curve([1.0, 2.0, 3.0], first=1))) == [1, 2, 3]


def test_a_mean_of_several_frames_stands_in_their_middle(results: Results) -> None:
    assert places(of_video(results, curve([1.0, 2.0, 3.0], step=10))) == [4.5, 14.5, 21.5]


def test_a_peak_of_one_video_stays_in_mean_and_range() -> None:
    """500 frames, of which two are far above the others: those that are not the first of a few neighbours, too."""
    peaks = [100.0 if frame in {101, 307} else 0.0 for frame in range(500)]
    found = mean_curve([(curve(peaks), 500), (curve([0.0] * 500), 500)])
    assert found.points[101] == (101.0, 50.0)
    assert found.points[307] == (307.0, 50.0)
    assert found.band[101] == ((101.0, 0.0), (101.0, 100.0))
    assert sum(value or 0 for _, value in found.points) == 100


def test_a_finer_curve_counts_with_its_mean_within_a_step() -> None:
    fine, coarse = curve([0.0, 10.0, 20.0, 30.0, 40.0, 50.0]), curve([1.0, 2.0, 3.0], step=2)
    found = mean_curve([(fine, 6), (coarse, 6)])
    assert found.points == [(0.5, 3.0), (2.5, 13.5), (4.5, 24.0)]
    assert found.band[1] == ((2.5, 2.0), (2.5, 25.0))


def test_a_last_step_that_is_shorter_counts_less() -> None:
    """Seven frames in steps of 2: the last value is of one frame."""
    fine, coarse = curve([0.0, 0.0, 3.0, 9.0], step=2), curve([0.0, 0.0], step=4)
    found = mean_curve([(fine, 7), (coarse, 7)])
    assert found.points == [(1.5, 0.0), (5.0, pytest.approx((3.0 * 2 + 9.0) / 3 / 2))]


def test_a_short_video_ends_nothing() -> None:
    found = mean_curve([(curve([4.0], first=1), 2), (curve([2.0, 3.0, 5.0], first=1), 4)])
    assert found.points == [(1.0, 3.0), (2.0, 3.0), (3.0, 5.0)]
    assert found.band == [((1.0, 2.0), (1.0, 4.0)), ((2.0, 3.0), (2.0, 3.0)), ((3.0, 5.0), (3.0, 5.0))]


def test_frames_without_a_value_are_gaps() -> None:
    found = mean_curve([(curve([None, 1.0]), 2), (curve([None, None]), 2)])
    assert found.points == [(0.0, None), (1.0, 1.0)]
    assert found.band == [((1.0, 1.0), (1.0, 1.0))]


@pytest.mark.parametrize(
    ("lengths", "told"),
    [
        ((24, 24), "all 2 up to frame 23"),
        ((2, 24), "all 2 up to frame 1, 1 up to frame 23"),
    ],
)
def test_readers_are_told_how_many_videos_still_run(results: Results, lengths: Sequence[int], told: str) -> None:
    videos = [
        video.model_copy(update={"file": facts(video.file.sha256, length)})
        for video, length in zip(results.videos, lengths, strict=True)
    ]
    section = mean_curves(results.model_copy(update={"videos": tuple(videos)}), FACTS)
    assert section is not None
    texts = [each.text or "" for each in section.iter("p")]
    assert any(f"still running: {told}." in text for text in texts)


def test_a_stored_curve_without_its_first_frame_begins_with_the_video() -> None:
    assert StoredCurve.model_validate({"step": 1, "values": [1.0]}).first == 0
