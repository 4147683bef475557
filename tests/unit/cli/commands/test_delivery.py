"""`longtake delivery`: what it asks of the API, what it prints, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.main import main
from core.service.domain.schema import JobEvent
from tests.helpers.shown_jobs import chunk as shown_chunk
from tests.unit.cli.commands.conftest import Api
from tests.unit.core.metrics.delivery.logs import chunk, ended, queued, started

WHOLE = [queued(), started(1.0), chunk(0, 5.0), chunk(1, 6.5), chunk(2, 11.0), ended(12.0)]
"""Queued for 1 s; then a stall of 2 s, 4 s after the viewer began."""
NOBODY = {"code": "job_not_found", "detail": "there is no such job", "status": 404}


def stream(events: Sequence[JobEvent]) -> bytes:
    texts = (f"id: {n}-0\nevent: {one.type}\ndata: {one.model_dump_json()}\n\n" for n, one in enumerate(events, 1))
    return "".join(texts).encode()


def has_job(api: Api, job_id: str, events: Sequence[JobEvent], status: str = "succeeded", **changes: Any) -> None:
    """The API has a job with this log."""
    api.answers["GET", f"/jobs/{job_id}"] = {**api.job, "id": job_id, "status": status, **changes}
    api.answers["GET", f"/jobs/{job_id}/events"] = stream(events)


def test_a_job_is_shown_over_time_and_figure_by_figure(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    has_job(api, "job_a", WHOLE)
    assert main(["delivery", "job_a"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    picture = next(line for line in lines if line.startswith("1 job_a"))
    assert picture.endswith("1 stall, 2.0 s")
    letters = picture.split()[2]
    assert "".join(sorted(set(letters), key=letters.index)) == ".-=!"
    assert letters.count("=") > letters.count("!") > 0
    assert "first chunk          5.00 s after it was queued, 4.00 s after its start" in lines
    assert "gaps between chunks  p50 1.50 s, p95 4.50 s, p99 4.50 s, max 4.50 s" in lines
    assert "real-time factor     0.67 (6.00 s of video in 3 chunks)" in lines
    assert "deadlines met        1 of 2" in lines
    assert "stalls               1, 2.00 s together, the longest 2.00 s" in lines
    assert "smallest buffer      2.00 s of waiting before, and no stall" in lines
    assert "whole video          12.00 s after it was queued" in lines
    assert printed.err == ""
    assert {path for _, path, _ in api.asked} == {"/jobs/job_a", "/jobs/job_a/events"}


def test_a_buffer_is_seen_and_saves_the_viewer_the_stall(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    has_job(api, "job_a", WHOLE)
    assert main(["delivery", "job_a", "--buffer", "2"]) == 0
    shown = capsys.readouterr().out
    assert "no stall" in shown
    assert "stalls               none" in shown
    assert "bbb" in shown
    assert main(["delivery", "job_a", "--buffer", "2", "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["jobs"][0]["generations"]
    assert (run["preview"]["viewing"]["begins_at"], run["preview"]["deadlines_met_share"]) == (7.0, 1.0)


def test_several_jobs_are_a_row_each_and_their_spread(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    has_job(api, "job_a", WHOLE)
    has_job(api, "job_b", [queued(), started(0.5), chunk(0, 1.0), chunk(1, 2.0), ended(3.0)])
    assert main(["delivery", "job_a", "job_b", "job_a"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "1 1.00 5.00 1.50 4.50 4.50 50% 1 2.00 2.00 0.67 12.00" in lines
    assert "2 0.50 1.00 1.00 1.00 1.00 100% 0 0.00 0.00 2.00 3.00" in lines
    assert "2 deliveries, seconds p50 p95 p99 max" in " ".join(lines)
    assert "first chunk 1.00 5.00 5.00 5.00" in lines
    assert any(line.startswith("2 of 3 deadlines met; 1 of 2 without a stall; fairness") for line in lines)
    assert not any("without a chunk" in line for line in lines)


def test_every_figure_is_in_the_json(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    refined = [chunk(index, 11.0 + index, refined=True) for index in range(3)]
    has_job(api, "job_a", [*WHOLE[:-1], *refined, ended(20.0)])
    assert main(["delivery", "job_a", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    (job,) = answer["jobs"]
    (run,) = job["generations"]
    assert (job["id"], job["status"], job["fps"], job["notes"]) == ("job_a", "succeeded", 8, [])
    assert (run["generation"], run["queue_seconds"], run["whole_video_seconds"]) == (0, 1.0, 20.0)
    preview = run["preview"]
    assert preview["gaps"] == {"count": 2, "p50": 1.5, "p95": 4.5, "p99": 4.5, "max": 4.5}
    assert preview["viewing"]["stalls"] == [{"at": 9.0, "seconds": 2.0, "position": 4.0}]
    assert (preview["viewing"]["stalled_seconds"], preview["viewing"]["longest_stall_seconds"]) == (2.0, 2.0)
    assert run["refined"]["first_chunk_seconds"] == 11.0
    assert answer["all"]["preview"]["stalled_seconds"]["max"] == 2.0
    assert answer["all"]["refined"]["num_generations"] == 1


def test_the_newest_jobs_are_measured_of_one_status_too(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    has_job(api, "job_a", WHOLE)
    api.answers["GET", "/jobs"] = {"jobs": [{**api.job, "id": "job_a"}], "next_cursor": "more"}
    assert main(["delivery", "--all", "--status", "succeeded", "--limit", "5"]) == 0
    assert api.asked[0][1] == "/jobs?status=succeeded&limit=5"
    assert "1 job_a" in capsys.readouterr().out


def test_unknown_ids_are_named_and_the_others_measured(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    has_job(api, "job_a", WHOLE)
    api.answers["GET", "/jobs/job_nobody"] = httpx.Response(404, json=NOBODY)
    assert main(["delivery", "job_nobody", "job_a"]) == 1
    printed = capsys.readouterr()
    assert "1 job_a" in printed.out
    assert printed.err == "longtake: there is no job job_nobody\n"


@pytest.mark.parametrize(("words", "said"), [([], "no jobs yet\n"), (["--status", "failed"], "no such jobs\n")])
def test_nothing_to_measure_is_said(api: Api, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    api.answers["GET", "/jobs"] = {"jobs": [], "next_cursor": None}
    assert main(["delivery", "--all", *words]) == 1
    assert capsys.readouterr() == ("", said)


def test_a_running_job_is_measured_so_far(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    progress = {**api.job["progress"], "chunks_done": 2}
    has_job(api, "job_a", WHOLE[:4], "running", version=2, progress=progress)
    assert main(["delivery", "job_a"]) == 0
    shown = capsys.readouterr().out
    assert "preview: running, measured so far" in shown
    assert "stalls               none so far" in shown
    assert "job_a: the job has not ended (running)" in shown


def test_a_job_whose_log_is_trimmed_is_measured_by_its_chunks(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """They are there at 5, 9 and 13 s."""
    has_job(api, "job_a", WHOLE[4:])
    chunks = [shown_chunk(index).model_dump(mode="json") for index in range(3)]
    api.answers["GET", "/jobs/job_a/chunks"] = {"status": "succeeded", "chunks": chunks, "next_after": None}
    assert main(["delivery", "job_a"]) == 0
    shown = capsys.readouterr().out
    assert "p50 4.00 s" in shown
    assert "job_a: the event log no longer has its beginning" in shown


def test_a_log_of_which_nothing_can_be_measured_is_no_success(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    has_job(api, "job_a", WHOLE[4:], generation=1)
    api.answers["GET", "/jobs/job_a/chunks"] = {"status": "succeeded", "chunks": [], "next_after": None}
    for words in ([], ["--json"], ["--out", str(tmp_path / "d.svg")]):
        assert main(["delivery", "job_a", *words]) == 1
        assert "of its generations none is measured" in capsys.readouterr().out
    assert not (tmp_path / "d.svg").exists()
    has_job(api, "job_b", WHOLE)
    assert main(["delivery", "job_a", "job_b"]) == 0


def test_jobs_that_wait_are_told_beside_the_figures(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    has_job(api, "job_a", WHOLE)
    has_job(api, "job_b", WHOLE[:4], "running", version=2, progress={**api.job["progress"], "chunks_done": 2})
    has_job(api, "job_c", WHOLE[:1], "queued")
    assert main(["delivery", "job_a", "job_b", "job_c"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(
        "1 of 2 without a stall so far" in line and line.endswith("; 1 without a chunk in none of these figures")
        for line in lines
    )


def test_the_lines_are_drawn_as_a_picture(api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    has_job(api, "job_a", WHOLE)
    assert main(["delivery", "job_a", "--out", str(tmp_path / "d.svg")]) == 0
    assert "1 job_a" in (tmp_path / "d.svg").read_text()
    assert main(["delivery", "job_a", "--out", str(tmp_path / "none" / "d.svg")]) == 1
    assert "d.svg cannot be written: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["job_a", "--out", "d.png"], "d.png does not end with .svg"),
        ([], "name jobs, or pass --all"),
        (["job_a", "--all"], "name jobs, or pass --all"),
        (["job_a", "--status", "failed"], "--status is for --all"),
        (["job_a", "--limit", "5"], "--limit is for --all"),
    ],
)
def test_what_is_asked_for_must_be_clear(
    api: Api, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["delivery", *words]) == 1
    assert said in capsys.readouterr().err
    assert api.asked == []


@pytest.mark.parametrize("words", [["--buffer", "-1"], ["--buffer", "nan"], ["--buffer", "inf"], ["--limit", "101"]])
def test_bad_numbers_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["delivery", "--all", *words])
    assert words[1] in capsys.readouterr().err
