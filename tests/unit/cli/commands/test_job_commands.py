"""Commands about one job or all of them: what they ask of the API, and what they print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.commands.download import target_of
from cli.commands.list_jobs import STATUSES
from cli.main import main, parse_args
from core.service.domain.schema import JobStatus
from tests.helpers.shown_jobs import MakeJob
from tests.unit.cli.commands.conftest import Api

BRANCHED_LOW = ("POST", "/jobs/job_x/branch", {"from_chunk": 2, "priority": "low"})
READ = ("GET", "/jobs/job_x", None)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["cancel", "job_x"], ("POST", "/jobs/job_x/cancel", None)),
        (["extend", "job_x", "16"], ("POST", "/jobs/job_x/extend", {"num_frames": 16})),
        (["branch", "job_x", "2", "--seed", "8"], ("POST", "/jobs/job_x/branch", {"from_chunk": 2, "seed": 8})),
        (["branch", "job_x", "2", "--priority", "low"], BRANCHED_LOW),
        (["retry", "job_x"], ("POST", "/jobs/job_x/retry", None)),
        (["get", "job_x"], READ),
        (["submit", "a red circle"], ("POST", "/jobs", {"prompt": "a red circle"})),
    ],
)
def test_a_job_is_printed_in_words_or_as_json(
    api: Api, capsys: pytest.CaptureFixture[str], words: list[str], asked: tuple[str, str, object]
) -> None:
    assert main(words) == 0
    assert api.asked[-1] == asked
    shown = capsys.readouterr().out
    assert shown.startswith(("job_x\n", "running\n", "job       job_x\n"))
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "job_x"


def test_a_job_is_shown_with_all_its_links(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "job_x"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "prompt    a red circle" in lines
    assert "priority  normal" in lines
    assert f"video     {api.job['links']['video']}" in lines


def test_jobs_are_listed_a_line_each(api: Api, make_job: MakeJob, capsys: pytest.CaptureFixture[str]) -> None:
    page = {"jobs": [make_job(num_chunks=1).model_dump(mode="json")], "next_cursor": "abc"}
    api.answers["GET", "/jobs"] = page
    assert main(["list", "--status", "running", "--limit", "5"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "job_x  running      1/3 chunks  2026-01-02 03:04  a red circle\n"
    assert "--cursor abc" in printed.err
    assert main(["list", "--json", "--cursor", "abc"]) == 0
    assert json.loads(capsys.readouterr().out)["next_cursor"] == "abc"
    assert [path for _, path, _ in api.asked] == ["/jobs?status=running&limit=5", "/jobs?limit=20&cursor=abc"]


def test_a_deleted_job_is_said_to_be(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["delete", "job_x"]) == 0
    assert api.asked == [READ, ("DELETE", "/jobs/job_x", None)]
    assert capsys.readouterr().out == "deleted\n"
    assert main(["delete", "job_x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": True}


def test_a_video_is_saved_under_the_job_s_id(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    api.job["status"] = "succeeded"
    api.answers["GET", "/jobs/job_x/video.mp4"] = b"bytes"
    assert main(["download", "job_x"]) == 0
    assert main(["download", "job_x", "--variant", "refined", "--out", "v.mp4"]) == 0
    assert capsys.readouterr().out == "job_x.mp4\nv.mp4\n"
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"job_x.mp4": b"bytes", "v.mp4": b"bytes"}
    assert api.asked[-1][1] == "/jobs/job_x/video.mp4?variant=refined"


def test_a_video_goes_into_a_folder_under_a_name_of_its_own(tmp_path: Path) -> None:
    assert target_of("job_x", tmp_path, "refined") == tmp_path / "job_x_refined.mp4"
    assert target_of("job_x", tmp_path / "new.mp4", "preview") == tmp_path / "new.mp4"


def test_events_are_printed_a_line_each(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["GET", "/jobs/job_x/events"] = b'id: 1-0\nevent: job.failed\ndata: {"type": "job.failed"}\n\n'
    api.job["status"] = "failed"
    assert main(["watch", "job_x", "--json"]) == 1
    assert capsys.readouterr().out == '{"type": "job.failed"}\n'


def test_every_status_can_be_listed_and_an_empty_list_says_so(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(STATUSES) == {str(status) for status in JobStatus}
    api.answers["GET", "/jobs"] = {"jobs": [], "next_cursor": None}
    assert main(["list"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "no jobs yet\n")
    with pytest.raises(SystemExit):
        parse_args(["list", "--status", "done"])
    assert "succeeded" in capsys.readouterr().err
