"""Files of prompts: lines in the order of the videos, or prompts by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.metrics.evaluation.inputs import Source
from core.metrics.evaluation.prompts import Prompts, PromptsUnreadable, give_prompts, read_prompts

SOURCES = [Source("a.mp4", Path("x/a.mp4")), Source("b.mp4", Path("x/b.mp4"))]
BY_NAME = {"a.mp4": "a red circle", "b.mp4": "a blue, large square"}


def prompts_of(folder: Path, name: str, text: str) -> Prompts:
    (folder / name).write_text(text, encoding="utf-8")
    return read_prompts(folder / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "a red circle\r\na blue, large square\n\n"),
        ("p.txt", "\ufeffa red circle\na blue, large square"),
        ("p.json", '["a red circle", "a blue, large square"]'),
        ("p.json", '{"b.mp4": "a blue, large square", "x/a.mp4": "a red circle"}'),
        ("p.json", '[{"file": "a", "prompt": "a red circle"}, {"file": "b", "prompt": "a blue, large square"}]'),
        (
            "p.jsonl",
            '{"file": "b.mp4", "prompt": "a blue, large square"}\n\n{"file": "a.mp4", "prompt": "a red circle"}\n',
        ),
        ("p.csv", 'file,prompt\na.mp4,a red circle\nb.mp4,"a blue, large square"\n'),
    ],
)
def test_every_form_gives_each_video_its_prompt(tmp_path: Path, name: str, text: str) -> None:
    given, problems = give_prompts(SOURCES, prompts_of(tmp_path, name, text))
    assert [source.prompt for source in given] == list(BY_NAME.values())
    assert problems == []


def test_an_empty_line_gives_its_video_no_prompt(tmp_path: Path) -> None:
    given, problems = give_prompts(SOURCES, prompts_of(tmp_path, "p.txt", "\na blue, large square\n"))
    assert [source.prompt for source in given] == [None, "a blue, large square"]
    assert problems == []


def test_prompts_without_a_video_are_named(tmp_path: Path) -> None:
    _, [of_lines] = give_prompts(SOURCES[:1], prompts_of(tmp_path, "p.txt", "one\ntwo\n"))
    assert (of_lines.kind, of_lines.input) == ("unused_prompt", "two")
    _, [of_names] = give_prompts(SOURCES, prompts_of(tmp_path, "p.json", '{"c.mp4": "three"}'))
    assert (of_names.kind, of_names.input) == ("unused_prompt", "c.mp4")


def test_a_name_that_fits_two_videos_gives_none_of_them_a_prompt(tmp_path: Path) -> None:
    sources = [Source("x/a.mp4", Path("x/a.mp4")), Source("y/a.mp4", Path("y/a.mp4"))]
    given, [problem] = give_prompts(sources, prompts_of(tmp_path, "p.json", '{"a.mp4": "one", "y/a.mp4": "two"}'))
    assert [source.prompt for source in given] == [None, "two"]
    assert (problem.kind, problem.input) == ("ambiguous_prompt", "a.mp4")


def test_a_job_keeps_its_own_prompt_and_takes_no_line(tmp_path: Path) -> None:
    sources = [Source("job_x", Path("v/job_x.mp4"), "its own", job_id="job_x"), *SOURCES]
    given, problems = give_prompts(sources, prompts_of(tmp_path, "p.txt", "one\ntwo"))
    assert [source.prompt for source in given] == ["its own", "one", "two"]
    assert problems == []


def test_a_file_that_is_given_twice_moves_no_other_prompt(tmp_path: Path) -> None:
    twice = [SOURCES[0], SOURCES[0], SOURCES[1]]
    given, problems = give_prompts(twice, prompts_of(tmp_path, "p.txt", "one\none\ntwo"))
    assert ([source.prompt for source in given], problems) == (["one", "one", "two"], [])
    given, problems = give_prompts(twice, prompts_of(tmp_path, "p.json", '{"a.mp4": "one"}'))
    assert ([source.prompt for source in given], problems) == (["one", "one", None], [])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.txt", " \n\n", "holds no prompt"),
        ("p.json", "{", "p.json holds no prompts that can be read"),
        ("p.json", '"text"', "neither a list nor an object"),
        ("p.json", '{"a.mp4": 3}', "'3' is no prompt"),
        ("p.json", '["", "b"]', "'' is no prompt"),
        ("p.jsonl", '{"prompt": "one"}', "line 1 has no `file`"),
        ("p.csv", "file,text\na.mp4,one\n", "line 2 has no `prompt`"),
        ("p.csv", "file,prompt\na.mp4,one\na.mp4,two\n", "line 3 names a.mp4 again"),
        ("p.csv", "file,prompt\na.mp4,one\nb.mp4,a blue, large square\n", "line 3 has more fields than the first line"),
        ("p.csv", 'file,prompt\na.mp4,"one\nb.mp4,two\n', "line 3: unexpected end of data"),
        ("p.json", '{"a.mp4": "one", "a.mp4": "two"}', "a.mp4 is named twice"),
        ("p.jsonl", '{"file": "a.mp4", "prompt": "one", "prompt": "two"}', "line 1: prompt is named twice"),
        ("p.jsonl", '{"file": "a.mp4", "prompt": "one"}\n\n{"file": ', "line 3: Expecting value"),
        ("p.json", "[" * 100_000, "it is nested too deeply"),
    ],
)
def test_a_file_that_holds_no_prompts_is_refused_with_the_place(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    with pytest.raises(PromptsUnreadable, match=said):
        prompts_of(tmp_path, name, text)


def test_a_video_that_two_names_fit_has_no_prompt(tmp_path: Path) -> None:
    given, [problem] = give_prompts(SOURCES, prompts_of(tmp_path, "p.json", '{"a.mp4": "one", "x/a.mp4": "two"}'))
    assert [source.prompt for source in given] == [None, None]
    assert (problem.input, problem.kind) == ("x/a.mp4", "ambiguous_prompt")
    assert problem.text == "several names of prompts fit this video, so it has none: a.mp4, x/a.mp4"


def test_what_is_read_of_prompts_has_an_end() -> None:
    with pytest.raises(PromptsUnreadable, match="larger than 64 MB"):
        read_prompts(Path("/dev/zero"))


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptsUnreadable, match="No such file"):
        read_prompts(tmp_path / "gone.txt")
    (tmp_path / "p.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PromptsUnreadable, match="can be read"):
        read_prompts(tmp_path / "p.txt")
