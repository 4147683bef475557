"""All metrics that need no network: their facts, and their memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice

import numpy as np
import pytest

from core.metrics.video.all_metrics import cheap_metrics
from core.metrics.video.facts import FACTS
from core.metrics.video.flow import DIS
from core.metrics.video.metric import Curve, Metric, measure
from core.metrics.video.seams import Borders
from core.service.domain.engine import FrameHWC
from tests.helpers.moving import pan, texture

BORDERS = Borders(16, 8)


def test_every_value_has_its_facts_and_every_fact_a_value() -> None:
    metrics = measure(pan([1, 2], 32, 32), cheap_metrics(8, 32), DIS)
    assert set(metrics.values) == set(FACTS)
    assert set(metrics.curves) <= set(FACTS)


def test_curves_begin_with_the_first_frame_that_has_a_value() -> None:
    frames = list(pan([1, 2], 32, 32))
    curves = measure(frames, cheap_metrics(8, 32), DIS).curves
    assert {name: curve.first for name, curve in curves.items()} == {
        **dict.fromkeys(("ofs", "warp_error", "duplicate_ratio"), 1),
        **dict.fromkeys(("saturation_drift", "contrast_drift", "sharpness_drift"), 0),
    }
    assert all(curve.first + curve.step * len(curve.values) == len(frames) for curve in curves.values())


def test_facts_are_whole() -> None:
    titles = [fact.title for fact in FACTS.values()]
    assert len(set(titles)) == len(titles)
    for fact in FACTS.values():
        assert fact.meaning.endswith(".")
        assert fact.source
        assert fact.better in (None, "lower", "higher")


@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_shortest_videos_have_values_or_notes(num_frames: int) -> None:
    metrics = measure(pan([1] * (num_frames - 1), 33, 47), cheap_metrics(8, 64, BORDERS), DIS)
    assert metrics.num_frames == num_frames
    assert metrics.values["scuts"] == 0
    assert metrics.notes
    assert np.isfinite([value for value in metrics.values.values() if value is not None]).all()


def test_frames_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="all frames of a video have one size"):
        measure(chain(pan([1], 32, 32), pan([1], 32, 40)), cheap_metrics(8, 32), DIS)


WORLD = texture(32, 200)


def _endless() -> Iterator[FrameHWC]:
    for number in range(10**9):
        left = abs(number % 300 - 150)
        yield WORLD[:, left : left + 32]


class Leaking:
    """A metric that keeps 300 bytes of each frame."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []

    def add(self, frame: FrameHWC) -> None:
        self._kept.append(frame.tobytes()[:300])

    def values(self) -> Mapping[str, float | int | None]:
        return {}

    def curves(self) -> Mapping[str, Curve]:
        return {}

    def notes(self) -> Sequence[str]:
        return ()


def _growth(*more: Metric) -> int:
    """By how many bytes the peak of 2,000 frames is above that of 200."""
    _peak_bytes(20, ())
    return _peak_bytes(2000, more) - _peak_bytes(200, ())


def _peak_bytes(num_frames: int, more: Sequence[Metric]) -> int:
    """What measuring adds at most to what was there before."""
    metrics = [*cheap_metrics(8, None, BORDERS), *more]
    tracemalloc.start()
    try:
        measure(islice(_endless(), num_frames), metrics, DIS)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_video() -> None:
    # Curves grow to at most 514 numbers, of 32 bytes with their places, for each of seven; 1,800 frames are 5.5 MB.
    assert _growth() < 150_000
    # What the bound can tell.
    assert _growth(Leaking()) > 300 * 1800
