"""Hard cuts where they are planted, and nowhere else."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.metrics.video.cuts import NOT_MEASURED, HardCuts, can_count_cuts
from core.metrics.video.metric import measure
from core.service.domain.engine import FrameHWC
from tests.helpers.moving import fade, flicker, pan, texture


def cuts(frames: Iterable[FrameHWC], fps: float = 10) -> float | int | None:
    return measure(frames, [HardCuts(fps)]).values["scuts"]


def scenes(*lengths: int) -> list[FrameHWC]:
    """Pans over different textures, one after the other."""
    return [
        frame // 2 + np.uint8(64 * (number % 2))
        for number, length in enumerate(lengths)
        for frame in pan([1] * (length - 1), 48, 64, seed=number)
    ]


@pytest.mark.parametrize(("lengths", "expected"), [((40,), 0), ((20, 20), 1), ((20, 20, 20), 2)])
@pytest.mark.parametrize("fps", [10, 24000 / 1001])
def test_planted_cuts_are_counted(lengths: tuple[int, ...], expected: int, fps: float) -> None:
    assert cuts(scenes(*lengths), fps) == expected


def test_cuts_close_to_the_beginning_the_end_or_one_another_do_not_count() -> None:
    """Fifteen frames are the least that the detector's defaults call a scene, and it looks two frames ahead."""
    assert cuts(scenes(10, 40)) == 0
    assert cuts(scenes(20, 10, 20)) == 1
    assert cuts(scenes(40, 2)) == 0
    assert cuts(scenes(40, 3)) == 1


def grainy(height: int, width: int) -> list[FrameHWC]:
    """Three scenes under grain, which hides their cuts at 720x720 from who does not make frames smaller."""
    random = np.random.default_rng(0)
    worlds = [texture(height, width, scene, smooth=height // 18) for scene in range(3)]
    return [
        (world + random.normal(0, 12, world.shape)).clip(0, 255).astype(np.uint8) for world in worlds for _ in range(18)
    ]


@pytest.mark.parametrize(("height", "width"), [(720, 720), (300, 500), (200, 256)])
def test_cuts_are_those_of_pyscenedetect_itself_at_any_size(tmp_path: Path, height: int, width: int) -> None:
    frames = grainy(height, width)
    path = tmp_path / "video.mkv"
    with av.open(path, "w") as file:
        stream = file.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        file.mux(stream.encode())
    scenedetect: Any = importlib.import_module("scenedetect")
    scenes = scenedetect.detect(str(path), scenedetect.AdaptiveDetector())
    assert cuts(frames) == max(0, len(scenes) - 1)
    if height == 720:
        assert len(scenes) == 3


@pytest.mark.parametrize("frames", [flicker(40), fade(40), [texture(48, 64)] * 40, pan([2] * 40, 48, 64)])
def test_what_is_gradual_or_goes_on_is_no_cut(frames: Iterable[FrameHWC]) -> None:
    assert cuts(frames) == 0


@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(18, 24), min_size=1, max_size=3))
def test_a_video_backwards_has_as_many_cuts(lengths: list[int]) -> None:
    frames = scenes(*lengths)
    assert cuts(frames) == cuts(frames[::-1]) == len(lengths) - 1


def test_a_count_is_that_of_the_frames_so_far() -> None:
    metric, counts = HardCuts(10), []
    for frame in scenes(20, 20):
        metric.add(frame)
        counts.append(metric.values()["scuts"])
    # The cut at frame 20 is known two frames later.
    assert counts == [0] * 22 + [1] * 18


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (7, 4)])
def test_tiny_frames(height: int, width: int) -> None:
    assert cuts([texture(height, width)] * 20) == 0


def test_one_frame_has_no_cut() -> None:
    assert cuts([texture(8, 8)]) == 0


def test_another_size_within_a_video_is_refused() -> None:
    metric = HardCuts(10)
    metric.add(texture(40, 50))
    with pytest.raises(ValueError, match="follows frames of 50x40"):
        metric.add(texture(50, 40))


@pytest.mark.parametrize("fps", [0, -1, float("nan")])
def test_frames_per_second_are_above_zero(fps: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        HardCuts(fps)


def test_without_the_detector_a_note_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_count_cuts()
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    assert not can_count_cuts()
    metrics = measure(scenes(20, 20), [HardCuts(10)])
    assert metrics.values == {"scuts": None}
    assert list(metrics.notes) == [NOT_MEASURED]
