"""The program that measures: real metrics of a real file, and what cannot be a number in JSON."""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from core.metrics.video.facts import FACTS
from core.metrics.video.metric import Curve, VideoMetrics
from core.service.domain.errors import VideoUnmeasurable
from core.service.domain.schema import MetricCurve
from core.service.engines.capabilities import WindowLengths
from tests.helpers.clips import clip, faststart
from worker.measuring.child import measure_in_process
from worker.measuring.process import as_stored
from worker.measuring.request import MeasureRequest


def nothing() -> None: ...


def test_a_video_is_measured_with_what_readers_must_know_of_each_value(tmp_path: Path) -> None:
    file = clip(tmp_path / "preview.mp4", 20)
    request = MeasureRequest(folder=tmp_path, videos={"preview": file}, fps=8.0, niceness=0)
    (video,) = measure_in_process(request, nothing).values()
    assert video.num_frames == 20
    assert video.values.keys() <= FACTS.keys()
    assert {"scuts", "mawe_code", "seam_score", "duplicate_ratio"} <= video.values.keys()
    for name, value in video.values.items():
        assert (value.title, value.meaning, value.better) == (
            FACTS[name].title,
            FACTS[name].meaning,
            FACTS[name].better,
        )
        assert value.value is not None or video.notes, "a note says why"
    assert request.progress.read_text() == "20"


def test_it_leaves_the_processor_to_others(tmp_path: Path) -> None:
    seen = list[int]()

    def look() -> None:
        with suppress(psutil.Error):
            seen.extend(child.nice() for child in psutil.Process().children())

    file = clip(tmp_path / "preview.mp4", 20)
    request = MeasureRequest(folder=tmp_path, videos={"preview": file}, fps=8.0, niceness=3)
    measure_in_process(request, look)
    assert min(os.nice(0) + 3, 19) in seen


@pytest.mark.parametrize(
    ("windows", "note"),
    [
        (WindowLengths(first=9, later=4), "seam score is of borders every 4 frames from 9 on"),
        (None, "where windows begin is not known"),
    ],
)
def test_seams_are_where_the_windows_of_the_video_begin(
    tmp_path: Path, windows: WindowLengths | None, note: str
) -> None:
    file = clip(tmp_path / "preview.mp4", 20)
    request = MeasureRequest(folder=tmp_path, videos={"preview": file}, fps=8.0, niceness=0, windows=windows)
    (video,) = measure_in_process(request, nothing).values()
    assert any(note in told for told in video.notes), video.notes


def test_a_file_that_is_no_video_is_told(tmp_path: Path) -> None:
    file = tmp_path / "preview.mp4"
    file.write_bytes(b"no video")
    request = MeasureRequest(folder=tmp_path, videos={"preview": file}, fps=8.0, niceness=0)
    with pytest.raises(VideoUnmeasurable, match="cannot be read"):
        measure_in_process(request, nothing)


def cut_off(tmp_path: Path, num_frames: int) -> MeasureRequest:
    """Nine tenths of a final video, whose index is in front."""
    whole = faststart(clip(tmp_path / "whole.mp4", num_frames), tmp_path / "index.mp4").read_bytes()
    file = tmp_path / "preview.mp4"
    file.write_bytes(whole[: len(whole) * 9 // 10])
    return MeasureRequest(folder=tmp_path, videos={"preview": file}, fps=8.0, niceness=0)


def test_a_video_that_was_cut_off_is_told(tmp_path: Path) -> None:
    request = cut_off(tmp_path, 48)
    with pytest.raises(VideoUnmeasurable, match="of its 48 frames"):
        measure_in_process(request, nothing)


def test_a_whole_video_with_fewer_frames_than_the_job_has_is_told(tmp_path: Path) -> None:
    file = clip(tmp_path / "preview.mp4", 20)
    request = MeasureRequest(folder=tmp_path, videos={"preview": file}, fps=8.0, niceness=0, num_frames={"preview": 32})
    with pytest.raises(VideoUnmeasurable, match="has 20 of its 32 frames"):
        measure_in_process(request, nothing)


def test_a_video_that_takes_too_much_memory_is_told_and_one_of_usual_size_does_not(tmp_path: Path) -> None:
    file = clip(tmp_path / "preview.mp4", 3, height=720, width=1280)
    request = MeasureRequest(folder=tmp_path, videos={"preview": file}, fps=8.0, niceness=0)
    assert measure_in_process(request, nothing)["preview"].num_frames == 3
    small = request.model_copy(update={"memory_bytes": -100_000_000 * (os.cpu_count() or 1)})
    with pytest.raises((VideoUnmeasurable, RuntimeError)):
        measure_in_process(small, nothing)


def test_what_is_not_finite_is_null() -> None:
    curve = Curve(2, [0.5, math.nan], first=1)
    metrics = VideoMetrics(3, {"ofs": math.inf, "scuts": 0, "warp_error": None}, {"warp_error": curve}, ["why"], "dis")
    stored = json.loads(as_stored(metrics).model_dump_json())
    assert {name: value["value"] for name, value in stored["values"].items()} == {
        "ofs": None,
        "scuts": 0,
        "warp_error": None,
    }
    assert stored["curves"] == {"warp_error": {"step": 2, "values": [0.5, None], "first": 1}}
    assert (stored["num_frames"], stored["notes"], stored["flow"]) == (3, ["why"], "dis")


def test_a_stored_curve_without_its_first_frame_begins_with_the_video() -> None:
    assert MetricCurve.model_validate({"step": 1, "values": [0.5]}).first == 0


def test_counts_have_no_decimals_and_whole_numbers_that_are_none_have_those_of_their_fact() -> None:
    stored = as_stored(VideoMetrics(3, {"scuts": 2, "warp_error": 0.0}))
    assert {name: value.decimals for name, value in stored.values.items()} == {
        "scuts": 0,
        "warp_error": FACTS["warp_error"].decimals,
    }


def test_numbers_of_numpy_are_stored_as_plain_ones() -> None:
    metrics = VideoMetrics(3, {"ofs": float(np.float32(0.5))}, {"ofs": Curve(1, [np.float64(0.25)])})
    assert json.loads(as_stored(metrics).model_dump_json())["curves"]["ofs"]["values"] == [0.25]
