"""A folder of videos: captions must match it, and frames are read at the requested rate and size."""

import json
from pathlib import Path

import pytest

from core.model.training.clips.clip_files import CAPTIONS, ClipsError, ClipUnusable, read_clips, read_frames
from core.service.domain.engine import FramesTHWC
from tests.helpers.clips import clip, numbers_of


def caption(folder: Path, **captions: str) -> None:
    lines = [json.dumps({"file": f"{name}.mp4", "caption": text}) for name, text in captions.items()]
    (folder / CAPTIONS).write_text("\n".join(lines))


def frames(path: Path, fps: float, least: int = 1, most: int = 40) -> FramesTHWC:
    return read_frames(path, fps=fps, height=32, width=32, least=least, most=most)


def test_clips_are_ordered_by_name(tmp_path: Path) -> None:
    caption(tmp_path, b="two", a="one")
    for name in "ab":
        (tmp_path / f"{name}.mp4").touch()
    assert [(found.name, found.caption) for found in read_clips(tmp_path)] == [("a.mp4", "one"), ("b.mp4", "two")]


def test_captions_that_do_not_match_the_folder_name_every_file(tmp_path: Path) -> None:
    caption(tmp_path, gone="one", there="two")
    (tmp_path / "there.mp4").touch()
    (tmp_path / "silent.webm").touch()
    with pytest.raises(ClipsError, match=r"1 have no caption: silent\.webm; 1 are in .* not in the folder: gone\.mp4"):
        read_clips(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "line 2: not JSON"),
        ('["a.mp4", "text"]', 'line 2: "file" is missing'),
        ('{"file": "b.mp4", "caption": " "}', 'line 2: "caption" is missing or empty'),
        ('{"file": "./a.mp4", "caption": "again"}', r"line 2: a\.mp4 already has a caption"),
    ],
)
def test_an_invalid_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / CAPTIONS).write_text(f'{{"file": "a.mp4", "caption": "one"}}\n{line}\n')
    with pytest.raises(ClipsError, match=message):
        read_clips(tmp_path)


def test_hidden_files_are_not_clips(tmp_path: Path) -> None:
    caption(tmp_path, a="one")
    for name in ("a.mp4", "._a.mp4"):
        (tmp_path / name).touch()
    assert [found.name for found in read_clips(tmp_path)] == ["a.mp4"]


def test_captions_of_another_encoding_are_refused(tmp_path: Path) -> None:
    (tmp_path / CAPTIONS).write_bytes('{"file": "a.mp4", "caption": "caf\xe9"}'.encode("latin-1"))
    with pytest.raises(ClipsError, match="not UTF-8"):
        read_clips(tmp_path)


def test_a_folder_without_captions_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ClipsError, match=CAPTIONS):
        read_clips(tmp_path)


@pytest.mark.parametrize(("fps", "numbers"), [(24, list(range(12))), (8, [0, 3, 6, 9]), (48, [0, 0, 1, 1, 2, 2])])
def test_frames_are_the_nearest_in_time(tmp_path: Path, fps: int, numbers: list[int]) -> None:
    made = frames(clip(tmp_path / "a.mp4", 12, fps=24), fps, most=len(numbers))
    assert made.shape == (len(numbers), 32, 32, 3)
    assert numbers_of(made) == numbers


def test_only_the_first_frames_are_read(tmp_path: Path) -> None:
    assert numbers_of(frames(clip(tmp_path / "a.mp4", 30, fps=24), 24, most=5)) == [0, 1, 2, 3, 4]


def test_a_short_clip_is_unusable(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 12, fps=24)
    with pytest.raises(ClipUnusable, match="too short: 4 frames at 8 per second, 5 are needed"):
        frames(path, 8, least=5)


def test_a_damaged_clip_is_unusable(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 12)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ClipUnusable, match="damaged"):
        frames(path, 8)


def test_a_file_that_is_no_video_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("text")
    with pytest.raises(ClipUnusable, match="damaged"):
        frames(tmp_path / "a.mp4", 8)
