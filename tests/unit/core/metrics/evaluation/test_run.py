"""Looking at real files and measuring them: in one process and in several, again and again."""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

from core.metrics.evaluation.cheap import CheapInstruments
from core.metrics.evaluation.inputs import Source
from core.metrics.evaluation.instruments import Asked, Instrument
from core.metrics.evaluation.run import Measurement, Video, look_at_all, measure_all, results_of
from core.metrics.evaluation.store import Store
from core.metrics.video.seams import Borders
from core.service.domain.errors import SetupError
from core.whole_files import unfinished
from tests.helpers.clips import faststart
from tests.helpers.evaluated import HEIGHT, pan

SIZE = 64


@dataclass(frozen=True)
class Counting(CheapInstruments):
    """Keeps the prompts of the videos that were really measured."""

    measured: list[str | None] = field(default_factory=list[str | None])
    reads: bool = False

    @property
    def reads_prompts(self) -> bool:
        return self.reads

    def of_video(self, fps: float, asked: Asked) -> Sequence[Instrument]:
        self.measured.append(asked.prompt)
        return super().of_video(fps, asked)


class Failing(CheapInstruments):
    """A library fails with one of the videos."""

    def of_video(self, fps: float, asked: Asked) -> Sequence[Instrument]:
        if asked.prompt == "prompt of two.mp4":
            raise RuntimeError("out of\nmemory")
        return super().of_video(fps, asked)


@dataclass(frozen=True)
class Replacing(CheapInstruments):
    """Another video takes a file's place while it is measured."""

    path: Path = Path()
    by: Path = Path()

    def of_video(self, fps: float, asked: Asked) -> Sequence[Instrument]:
        shutil.copyfile(self.by, self.path)
        return super().of_video(fps, asked)


class Killed(CheapInstruments):
    """The process that measures is killed from outside, as one is that needs too much memory."""

    def of_video(self, fps: float, asked: Asked) -> Sequence[Instrument]:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().of_video(fps, asked)


def ignore(_: int) -> None:
    """Progress that nobody wants to see."""


def looked_at(folder: Path, *names: str) -> list[Video]:
    """Videos of these names that move at different speeds."""
    paths = [pan(folder / name, 12, speed=speed) for speed, name in enumerate(names, start=1)]
    sources = [Source(path.name, path, f"prompt of {path.name}") for path in paths]
    videos, problems = look_at_all(sources, Store(folder / "measured"), 1, ignore)
    assert problems == []
    return videos


def measure(
    videos: Sequence[Video], folder: Path, instruments: CheapInstruments, processes: int = 1
) -> list[Measurement]:
    found, problems = measure_all(videos, instruments, Store(folder), processes, 1, ignore)
    assert problems == []
    return found


def test_a_look_tells_what_is_in_a_file(tmp_path: Path) -> None:
    [video] = looked_at(tmp_path, "a.mp4")
    assert (video.file.num_frames, video.file.width, video.file.height, video.file.fps) == (12, 64, HEIGHT, 12)
    assert not video.file.varies


def test_a_look_names_what_cannot_be_measured(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    whole = pan(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    pan(tmp_path / "one.mp4", 1)
    sources = [Source(name, tmp_path / name) for name in ("broken.mp4", "cut.mp4", "one.mp4", "gone.mp4")]
    told = list[int]()
    videos, problems = look_at_all(sources, Store(tmp_path / "measured"), 1, told.append)
    assert videos == []
    assert [(problem.input, problem.kind) for problem in problems] == [
        *(("broken.mp4", "unreadable"), ("cut.mp4", "unreadable"), ("one.mp4", "one_frame"), ("gone.mp4", "unreadable"))
    ]
    assert sum(told) == 4


def test_frames_that_are_not_equally_far_apart_are_noticed(tmp_path: Path) -> None:
    path = pan(tmp_path / "a.mp4", 6, times=[0, 1, 2, 5, 6, 9])
    [video], _ = look_at_all([Source("a.mp4", path)], Store(tmp_path / "measured"), 1, ignore)
    assert video.file.varies


def test_a_file_that_was_cut_off_is_measured_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = faststart(pan(tmp_path / "a.mp4", 60), tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    [video], problems = look_at_all([Source("cut.mp4", tmp_path / "cut.mp4")], Store(tmp_path / "m"), 1, ignore)
    assert problems == []
    assert 0 < video.file.num_frames < 60
    assert video.file.num_frames + video.file.missing_frames == 60


def test_a_name_with_a_colon_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pan(tmp_path / "a:b.mp4", 4)
    monkeypatch.chdir(tmp_path)
    [video], problems = look_at_all([Source("a:b.mp4", Path("a:b.mp4"))], Store(tmp_path / "measured"), 1, ignore)
    assert (video.file.num_frames, problems) == (4, [])


def test_a_pan_has_its_speed_and_the_name_of_its_flow(tmp_path: Path) -> None:
    told = list[int]()
    videos = looked_at(tmp_path, "one.mp4", "two.mp4")
    found, _ = measure_all(videos, CheapInstruments(SIZE), Store(tmp_path / "measured"), 1, 1, told.append)
    speeds = [measurement.measured.values["ofs"] for measurement in found]
    assert speeds == [pytest.approx(1, abs=0.3), pytest.approx(2, abs=0.5)]
    assert found[0].measured.flows["ofs"] == "dis"
    assert "scuts" not in found[0].measured.flows
    assert len(found[0].measured.curves["ofs"].values) == 11
    assert sum(told) == 24


def test_several_processes_find_the_same_as_one(tmp_path: Path) -> None:
    videos = looked_at(tmp_path, "one.mp4", "two.mp4", "three.mp4")
    told = list[int]()
    serial = measure(videos, tmp_path / "serial", CheapInstruments(SIZE))
    parallel, _ = measure_all(videos, CheapInstruments(SIZE), Store(tmp_path / "parallel"), 2, 1, told.append)
    assert results_of(serial, [], CheapInstruments(SIZE)) == results_of(parallel, [], CheapInstruments(SIZE))
    assert sum(told) == 36
    files = [{file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("serial", "parallel")]
    assert files[0] == files[1]


def test_a_process_that_was_killed_is_said(tmp_path: Path) -> None:
    videos = looked_at(tmp_path, "one.mp4", "two.mp4", "three.mp4")
    with pytest.raises(SetupError, match="a measuring process was killed"):
        measure(videos, tmp_path / "out", Killed(SIZE), processes=2)
    assert multiprocessing.active_children() == []


def test_only_what_is_not_stored_is_measured(tmp_path: Path) -> None:
    videos, instruments = looked_at(tmp_path, "one.mp4", "two.mp4", "three.mp4"), Counting(SIZE)
    measure(videos[:1], tmp_path / "out", instruments)
    told = list[int]()
    again, _ = measure_all(videos, instruments, Store(tmp_path / "out"), 1, 1, told.append)
    assert instruments.measured == [f"prompt of {name}.mp4" for name in ("one", "two", "three")]
    assert sum(told) == 36
    assert again == measure(videos, tmp_path / "fresh", CheapInstruments(SIZE))


def test_a_file_of_another_name_or_prompt_is_known_by_its_bytes(tmp_path: Path) -> None:
    [video] = looked_at(tmp_path, "one.mp4")
    renamed = Video(Source("other.mp4", video.source.path, "other words"), video.file, video.stamp)
    instruments = Counting(SIZE)
    measure([video], tmp_path / "out", instruments)
    measure([renamed], tmp_path / "out", instruments)
    assert len(instruments.measured) == 1


@pytest.mark.parametrize("changed", ["size", "prompt", "chunks", "damaged", "no picture"])
def test_a_result_that_does_not_fit_is_made_again(tmp_path: Path, changed: str) -> None:
    [video] = looked_at(tmp_path, "one.mp4")
    out = tmp_path / "out"
    instruments = Counting(SIZE, reads=True)
    [first] = measure([video], out, instruments)
    source = video.source
    if changed == "size":
        instruments = Counting(32, instruments.measured, reads=True)
    if changed == "prompt":
        source = Source(source.name, source.path, "other words")
    if changed == "chunks":
        source = Source(source.name, source.path, source.prompt, borders=Borders(4, 4))
    if changed == "damaged":
        (out / f"{first.key}.json").write_text('{"values": {')
    if changed == "no picture":
        (out / f"{first.key}.sheet.jpg").unlink()
    [again] = measure([Video(source, video.file, video.stamp)], out, instruments)
    assert len(instruments.measured) == 2
    assert (again.measured.values["seam_score"] is not None) == (changed == "chunks")
    assert not list(out.glob("*.part"))


@pytest.mark.parametrize("processes", [1, 2])
def test_a_video_that_fails_does_not_end_the_others(tmp_path: Path, processes: int) -> None:
    videos, told = looked_at(tmp_path, "one.mp4", "two.mp4", "three.mp4"), list[int]()
    videos[2].source.path.unlink()
    found, problems = measure_all(videos, Failing(SIZE), Store(tmp_path / "out"), processes, 1, told.append)
    assert [measurement.video.source.name for measurement in found] == ["one.mp4"]
    assert [(problem.input, problem.kind, problem.is_skipped) for problem in problems] == [
        ("two.mp4", "failed", True),
        ("three.mp4", "unreadable", True),
    ]
    assert problems[0].text == "it could not be measured: RuntimeError: out of memory"
    assert sum(told) == 36


def test_a_file_that_is_replaced_while_it_is_measured_is_not_stored(tmp_path: Path) -> None:
    one, two = looked_at(tmp_path, "one.mp4", "two.mp4")
    instruments = Replacing(SIZE, path=one.source.path, by=two.source.path)
    found, [problem] = measure_all([one], instruments, Store(tmp_path / "out"), 1, 1, ignore)
    assert (found, problem.kind, problem.text) == ([], "changed", "it changed while it was measured")
    assert not list(tmp_path.glob("out/*.json"))


def test_a_result_without_a_package_is_not_taken_for_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [video] = looked_at(tmp_path, "one.mp4")
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, "cv2", None)
        missing.setitem(sys.modules, "scenedetect", None)
        [without] = measure([video], tmp_path / "out", CheapInstruments(SIZE))
        assert CheapInstruments(SIZE).options == {"size": SIZE, "flow": "dis", "opencv": None, "scenedetect": None}
    [whole] = measure([video], tmp_path / "out", CheapInstruments(SIZE))
    assert (without.measured.values["ofs"], without.measured.values["scuts"]) == (None, None)
    assert whole.measured.values["ofs"] == pytest.approx(1, abs=0.3)
    assert whole.measured.values["scuts"] == 0


def test_curves_of_pairs_begin_with_the_second_frame(tmp_path: Path) -> None:
    [found] = measure(looked_at(tmp_path, "one.mp4"), tmp_path / "out", CheapInstruments(SIZE))
    firsts = {name: (curve.first, len(curve.values)) for name, curve in found.measured.curves.items()}
    assert firsts["warp_error"] == firsts["ofs"] == (1, 11)
    assert firsts["saturation_drift"] == (0, 12)


def test_a_write_that_fails_leaves_nothing_and_old_remains_are_removed(tmp_path: Path) -> None:
    def fill_the_disk() -> None:
        with unfinished(tmp_path / "a.json") as part:
            part.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fill_the_disk()
    assert list(tmp_path.iterdir()) == []
    for name, age in (("old.json.7.part", 7200), ("new.json.8.part", 0), ("a.json", 7200)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))
    Store(tmp_path).clean()
    assert {file.name for file in tmp_path.iterdir()} == {"new.json.8.part", "a.json"}


def test_faults_are_told_in_one_style(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    pan(tmp_path / "one.mp4", 1)
    sources = [Source(name, tmp_path / name) for name in ("empty.mp4", "text.mp4", "one.mp4")]
    _, problems = look_at_all(sources, Store(tmp_path / "measured"), 1, ignore)
    assert [problem.text for problem in problems] == [
        "it is empty",
        "it cannot be read: Invalid data found when processing input",
        "it has one frame only, and metrics of change need two",
    ]


def test_pictures_show_moments_and_motion(tmp_path: Path) -> None:
    [video] = looked_at(tmp_path, "one.mp4")
    store = Store(tmp_path / "out")
    [measurement], _ = measure_all([video], CheapInstruments(SIZE), store, 1, 1, ignore)
    pictures = store.pictures(measurement.key)
    sheet, slice_ = (Image.open(io.BytesIO(jpeg)) for jpeg in (pictures.sheet, pictures.slice))
    assert sheet.size == (8 * 128 + 7 * 2, 2 * 96 + 2)
    assert slice_.size == (12, 64)
