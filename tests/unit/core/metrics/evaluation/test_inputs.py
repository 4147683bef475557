"""Which videos are measured: files, folders, what is missing or given twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.metrics.evaluation.inputs import Source, find_files, named, readable, without_repeated_paths


def test_a_folder_has_its_videos_in_natural_order_and_says_what_is_left_out(tmp_path: Path) -> None:
    for name in ("v10.mp4", "v2.MP4", "v1.webm", "notes.txt", "inside/v3.mp4", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files, [problem] = find_files(tmp_path)
    assert [file.name for file in files] == ["v1.webm", "v2.MP4", "v10.mp4"]
    assert (problem.kind, problem.is_skipped) == ("left_out", False)
    assert problem.text == "not searched for videos in this folder: inside, notes.txt"


@pytest.mark.parametrize("suffix", [".mpeg", ".wmv", ".flv", ".3gp", ".m2ts", ".gif"])
def test_formats_that_are_rare_are_videos_too(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").touch()
    assert find_files(tmp_path) == ([tmp_path / f"a{suffix}"], [])


def test_a_file_that_is_named_can_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "video").touch()
    assert find_files(tmp_path / "video") == ([tmp_path / "video"], [])


@pytest.mark.parametrize(("name", "kind"), [("empty", "no_video"), ("gone.mp4", "missing")])
def test_empty_folders_and_missing_files_are_named(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "empty").mkdir()
    files, [problem] = find_files(tmp_path / name)
    assert files == []
    assert (problem.input, problem.kind, problem.is_skipped) == (str(tmp_path / name), kind, True)


def test_a_path_that_cannot_be_looked_up_is_named(tmp_path: Path) -> None:
    files, [problem] = find_files(tmp_path / ("x" * 300 + ".mp4"))
    assert (files, problem.kind, problem.is_skipped) == ([], "unreadable", True)
    assert problem.text == "it cannot be read: File name too long"
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    files, [problem] = find_files(tmp_path / "loop.mp4")
    assert (files, problem.kind) == ([], "unreadable")


def test_what_may_never_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", Path("/dev/zero")):
        files, [problem] = find_files(path)
        assert (files, problem.kind, problem.text) == ([], "unreadable", "it is no regular file")


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    files, [problem] = find_files(tmp_path)
    assert (files, problem.kind) == ([], "unreadable")
    assert problem.text == "it cannot be read: Permission denied"


def test_names_have_as_much_of_the_path_as_makes_them_differ() -> None:
    paths = ["x/a.mp4", "y/a.mp4", "y/b.mp4"]
    assert [source.name for source in named([Source("", Path(path)) for path in paths])] == [
        "x/a.mp4",
        "y/a.mp4",
        "y/b.mp4",
    ]
    assert [source.name for source in named([Source("", Path(path)) for path in paths[1:]])] == ["a.mp4", "b.mp4"]
    assert [source.name for source in named([Source("", Path("v/j.mp4"), job_id="job_x")])] == ["job_x"]


def test_a_path_that_is_given_twice_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    monkeypatch.chdir(tmp_path)
    given = [Source("", Path(path)) for path in ("a.mp4", str(tmp_path / "a.mp4"), "link.mp4")]
    kept, problems = without_repeated_paths(given)
    assert kept == given[:1]
    assert [(problem.kind, problem.text) for problem in problems] == [
        ("duplicate", "given twice: the same file as a.mp4")
    ] * 2


def test_a_name_of_any_bytes_is_text() -> None:
    assert readable(Path(os.fsdecode(b"caf\xe9.mp4"))) == "caf\ufffd.mp4"
