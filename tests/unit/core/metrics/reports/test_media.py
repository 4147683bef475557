"""Videos within the page and beside it."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest

from core.metrics.evaluation.inputs import Source
from core.metrics.evaluation.look import stamp_of
from core.metrics.evaluation.run import Video
from core.metrics.reports import media
from core.metrics.reports.media import Media, NoMedia, media_of
from tests.helpers.evaluated import facts


def video(path: Path, content: bytes = b"xxxxx") -> Video:
    """One that was measured, of any bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Video(Source(path.name, path), facts(hashlib.sha256(content).hexdigest()), stamp_of(path))


def urls(videos: list[Video], folder: Path, embed_bytes: int = 0) -> list[str]:
    found = media_of(videos, folder, embed_bytes)
    return [each.url if isinstance(each, Media) else each.reason for each in found]


def test_small_videos_are_within_the_page_and_large_ones_beside_it(tmp_path: Path) -> None:
    videos = [video(tmp_path / "in" / "a.mp4", b"x" * 10), video(tmp_path / "in" / "b.webm", b"x" * 11)]
    small, large = urls(videos, tmp_path / "out", embed_bytes=10)
    assert small[:26] == "data:video/mp4;base64,eHh4"
    assert large == f"videos/{videos[1].file.sha256[:16]}-b.webm"
    assert (tmp_path / "out" / large).read_bytes() == b"x" * 11


def test_a_page_takes_only_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MOST_EMBEDDED_BYTES", 2 * 16)
    videos = [video(tmp_path / f"{number}.mp4", b"x" * 10) for number in range(3)]
    assert [url.partition(":")[0][:7] for url in urls(videos, tmp_path / "out", 10)] == ["data", "data", "videos/"]


@pytest.mark.parametrize("name", ["a.mov", "a.MOV", "a", "a.txt"])
def test_a_type_that_browsers_refuse_is_not_given(tmp_path: Path, name: str) -> None:
    [url] = urls([video(tmp_path / name)], tmp_path / "out", embed_bytes=10)
    assert url.startswith("data:video/mp4;")


@pytest.mark.parametrize("name", ["a b#c?.mp4", "'\"><img src=x>.mp4", "ü.mp4", "video", "x" * 200 + ".mp4"])
def test_a_copy_has_a_plain_name(tmp_path: Path, name: str) -> None:
    [url] = urls([video(tmp_path / "in" / name)], tmp_path / "out")
    assert url.isascii()
    assert not set(url) & set("\"'<> #?")
    assert (tmp_path / "out" / unquote(url)).is_file()


def test_a_copy_is_made_once(tmp_path: Path) -> None:
    one = video(tmp_path / "in" / "a.mp4")
    [url] = urls([one], tmp_path / "out")
    first = (tmp_path / "out" / url).stat()
    assert urls([one], tmp_path / "out") == [url]
    again = (tmp_path / "out" / url).stat()
    assert (again.st_ino, again.st_ctime_ns) == (first.st_ino, first.st_ctime_ns)


def test_copies_of_earlier_reports_are_removed_and_other_files_stay(tmp_path: Path) -> None:
    out = tmp_path / "out"
    [old] = urls([video(tmp_path / "in" / "a.mp4")], out)
    (out / "videos" / "job_x.mp4").touch()
    [new] = urls([video(tmp_path / "in" / "a.mp4", b"other")], out)
    assert old != new
    assert {file.name for file in (out / "videos").iterdir()} == {new.partition("/")[2], "job_x.mp4"}


def test_a_copy_that_is_measured_itself_is_not_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    [url] = urls([video(tmp_path / "in" / "a.mp4")], out)
    path = out / url
    same = Video(Source(path.name, path), facts("0" * 64), stamp_of(path))
    assert urls([same], out, embed_bytes=10)[0].startswith("data:")
    assert path.is_file()


def test_a_video_that_changed_or_is_gone_is_not_shown(tmp_path: Path) -> None:
    changed, gone = video(tmp_path / "a.mp4"), video(tmp_path / "b.mp4")
    changed.source.path.write_bytes(b"other bytes")
    gone.source.path.unlink()
    assert media_of([changed, gone], tmp_path / "out", 10) == [
        NoMedia("The file changed after it was measured."),
        NoMedia("The file cannot be read: No such file or directory."),
    ]


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path, copy: Path) -> None:
        copy.write_bytes(b"half")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(shutil, "copy2", full)
    one = video(tmp_path / "in" / "a.mp4")
    assert urls([one], tmp_path / "out") == ["The file cannot be copied: No space left on device."]
    assert list((tmp_path / "out" / "videos").iterdir()) == []


def test_a_video_that_is_beside_the_page_is_not_copied(tmp_path: Path) -> None:
    one = video(tmp_path / "out" / "videos" / "job_x.mp4")
    assert urls([one], tmp_path / "out") == ["videos/job_x.mp4"]
    assert [file.name for file in one.source.path.parent.iterdir()] == ["job_x.mp4"]
