"""Curves are drawn at the frames that they are of."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from core.metrics.evaluation.results import Results, StoredCurve
from core.metrics.reports.curves import mean_curves, video_curves
from core.metrics.video.facts import FACTS


def with_curves(results: Results, curve: StoredCurve) -> Results:
    """All videos have this one curve, and 4 frames."""
    videos = [
        video.model_copy(
            update={
                "measured": video.measured.model_copy(update={"curves": {"ofs": curve}}),
                "file": video.file.model_copy(update={"num_frames": 4}),
            }
        )
        for video in results.videos
    ]
    return results.model_copy(update={"videos": tuple(videos)})


def places(drawn: Element) -> list[float]:
    """Where the points of the only curve are, in pixels from the left."""
    (line,) = drawn.iter("polyline")
    return [float(pair.split(",")[0]) for pair in (line.get("points") or "").split()]


def test_a_curve_of_pairs_begins_at_frame_one(results: Results) -> None:
    of_frames = with_curves(results, StoredCurve(step=1, values=(1.0, 2.0, 3.0, 4.0)))
    of_pairs = with_curves(results, StoredCurve(step=1, values=(2.0, 3.0, 4.0), first=1))
    four, three = (places(video_curves(one.videos[0], FACTS, Element("p"))) for one in (of_frames, of_pairs))
    assert three == four[1:]


def test_so_does_the_mean_of_such_curves(results: Results) -> None:
    of_frames = mean_curves(with_curves(results, StoredCurve(step=1, values=(1.0, 2.0, 3.0, 4.0))), FACTS)
    of_pairs = mean_curves(with_curves(results, StoredCurve(step=1, values=(2.0, 3.0, 4.0), first=1)), FACTS)
    assert of_frames is not None
    assert of_pairs is not None
    assert places(of_pairs) == places(of_frames)[1:]


def test_a_stored_curve_without_its_first_frame_begins_with_the_video() -> None:
    assert StoredCurve.model_validate({"step": 1, "values": [1.0]}).first == 0
