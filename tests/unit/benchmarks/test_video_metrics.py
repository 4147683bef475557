"""The benchmark of the metrics of any video, on a few tiny frames."""

from __future__ import annotations

import re

from benchmarks.video_metrics import FPS, Scale, measure

TINY = Scale(num_frames=16, size=96, target_seconds=None)


def test_every_part_has_its_time_and_the_note_tells_the_motion_that_was_found() -> None:
    said: list[str] = []
    whole, cpu, *parts = measure(said.append, TINY)
    assert said == ["metrics of 16 frames of 96x96"]
    assert whole.name == "metrics of 16 frames of 96x96, flow dis"
    assert (whole.unit, whole.target) == ("s", None)
    found = re.fullmatch(r"a file whose picture moves by 3 pixels a frame; measured: OFS (\d+\.\d\d)", whole.note)
    assert found, whole.note
    assert abs(float(found[1]) - 3) < 0.5
    assert cpu.name == "CPU time of this process"
    assert [part.name for part in parts] == [
        f"of this {name}, a frame" for name in ("HardCuts", "WarpError", "Drift", "decoding")
    ]
    assert all(figure.value is not None for figure in (whole, cpu, *parts))


def test_its_usual_scale_is_whole_chunks_of_some_seconds() -> None:
    usual = Scale()
    assert usual.num_frames % 16 == 0
    assert usual.num_frames / FPS > 10
