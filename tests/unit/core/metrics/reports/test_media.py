"""Videos within the page and beside it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from core.metrics.reports import media
from core.metrics.reports.media import media_of


def written(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_small_videos_are_within_the_page_and_large_ones_beside_it(tmp_path: Path) -> None:
    paths = [written(tmp_path / "in" / name, size) for name, size in (("a.mp4", 10), ("b.webm", 11))]
    small, large = media_of(paths, tmp_path / "out", embed_bytes=10)
    assert (small.url[:26], small.content_type) == ("data:video/mp4;base64,eHh4", "video/mp4")
    assert (large.url, large.content_type) == ("videos/002-b.webm", "video/webm")
    assert (tmp_path / "out" / large.url).read_bytes() == paths[1].read_bytes()


def test_a_page_takes_only_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MOST_EMBEDDED_BYTES", 2 * 16)
    paths = [written(tmp_path / f"{number}.mp4", 10) for number in range(3)]
    urls = [each.url.partition(":")[0] for each in media_of(paths, tmp_path / "out", embed_bytes=10)]
    assert urls == ["data", "data", "videos/003-2.mp4"]


@pytest.mark.parametrize("name", ["a b#c?.mp4", "'\"><img src=x>.mp4", "ü.mp4", "video", "x" * 200 + ".mp4"])
def test_a_copy_has_a_plain_name(tmp_path: Path, name: str) -> None:
    [found] = media_of([written(tmp_path / "in" / name, 5)], tmp_path / "out", embed_bytes=0)
    assert found.url.isascii()
    assert not set(found.url) & set("\"'<> #?")
    assert (tmp_path / "out" / unquote(found.url)).is_file()
    assert found.content_type == "video/mp4"


def test_a_copy_is_made_again_only_if_the_video_changed(tmp_path: Path) -> None:
    path = written(tmp_path / "in" / "a.mp4", 5)
    [found] = media_of([path], tmp_path / "out", embed_bytes=0)
    copy = tmp_path / "out" / found.url
    first = copy.stat().st_ino, copy.stat().st_ctime_ns
    media_of([path], tmp_path / "out", embed_bytes=0)
    assert (copy.stat().st_ino, copy.stat().st_ctime_ns) == first
    written(path, 6)
    media_of([path], tmp_path / "out", embed_bytes=0)
    assert copy.stat().st_size == 6


def test_a_video_that_is_beside_the_page_is_not_copied(tmp_path: Path) -> None:
    path = written(tmp_path / "out" / "videos" / "job_x.mp4", 5)
    [found] = media_of([path], tmp_path / "out", embed_bytes=0)
    assert found.url == "videos/job_x.mp4"
    assert [file.name for file in path.parent.iterdir()] == ["job_x.mp4"]
