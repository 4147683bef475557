"""`longtake metrics`: what it asks of the API, how it waits, and what it prints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli.commands import metrics as command
from cli.main import main
from tests.unit.cli.commands.conftest import Api

METRICS: dict[str, Any] = {
    "job_id": "job_x",
    "generation": 0,
    "measured_at": "2026-01-02T03:04:05Z",
    "version": "0.1.0",
    "videos": {
        "preview": {
            "num_frames": 48,
            "flow": "dis",
            "values": {
                "scuts": {
                    "value": 0,
                    "title": "SCuts",
                    "meaning": "Number of hard cuts.",
                    "better": "lower",
                    "decimals": 0,
                },
                "mawe_code": {"value": 1.23456, "title": "MAWE (code)", "meaning": "A ratio.", "decimals": 2},
                "warp_error": {"value": 3, "title": "Warp error W", "meaning": "An error.", "decimals": 2},
                "motion_drift": {"value": -0.0004, "title": "Motion drift", "meaning": "A drift.", "decimals": 3},
                "seam_score": {"value": None, "title": "Seam score", "meaning": "A score.", "source": "seams.py"},
            },
            "curves": {},
            "notes": ["There are no seams."],
        },
        "refined": {"num_frames": 48, "values": {}, "curves": {}},
    },
}
TABLE = """\
preview: 48 frames, flow dis
  SCuts                  0  lower is better
  MAWE (code)         1.23
  Warp error W        3.00
  Motion drift       0.000
  Seam score             -
  There are no seams.

refined: 48 frames
"""


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "POLL_SECONDS", 0.0)


def answers(api: Api, *states: dict[str, Any] | None) -> list[str]:
    """The job is in these states, one after another; returns the list of what is asked."""
    left = [{**api.job, "measurement": state} for state in states]
    asked = list[str]()

    class Answers(dict[tuple[str, str], object]):
        def get(self, key: tuple[str, str], _default: object = None) -> object:
            asked.append(" ".join(key))
            if key == ("GET", "/jobs/job_x/metrics"):
                return METRICS
            return left.pop(0) if len(left) > 1 else left[0]

    api.answers = Answers()
    return asked


def state(status: str) -> dict[str, Any]:
    return {"status": status, "at": None, "error": None}


def test_a_measured_job_is_shown_as_a_table_or_as_json(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    asked = answers(api, state("measured"))
    assert main(["metrics", "job_x"]) == 0
    assert capsys.readouterr().out == TABLE
    assert asked == ["GET /jobs/job_x", "GET /jobs/job_x/metrics"]
    assert main(["metrics", "job_x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["videos"]["preview"]["values"]["scuts"]["value"] == 0


def test_meanings_and_sources_are_told_when_asked_for(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    answers(api, state("measured"))
    assert main(["metrics", "job_x", "--meaning"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "      Number of hard cuts."
    assert lines[10] == "      A score. (seams.py)"


@pytest.mark.usefixtures("no_pause")
def test_a_job_that_nobody_measured_is_measured_and_waited_for(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    asked = answers(api, None, state("waiting"), state("waiting"), state("measured"))
    assert main(["metrics", "job_x"]) == 0
    printed = capsys.readouterr()
    assert printed.out == TABLE
    assert printed.err.count("waiting until it is measured") == 1
    job = "GET /jobs/job_x"
    assert asked == [job, "POST /jobs/job_x/metrics", job, job, "GET /jobs/job_x/metrics"]


@pytest.mark.parametrize(("more", "asks"), [([], False), (["--again"], True)])
@pytest.mark.usefixtures("no_pause", "capsys")
def test_a_failure_is_tried_again_only_if_asked_for(api: Api, more: list[str], asks: bool) -> None:
    for known in ("failed", "measured"):
        asked = answers(api, state(known), state("measured"))
        assert main(["metrics", "job_x", *more]) == 0
        assert ("POST /jobs/job_x/metrics" in asked) is asks


@pytest.mark.usefixtures("no_pause", "capsys")
def test_a_job_that_waits_is_asked_for_again(api: Api) -> None:
    asked = answers(api, state("waiting"), state("waiting"), state("measured"))
    assert main(["metrics", "job_x"]) == 0
    assert asked.count("POST /jobs/job_x/metrics") == 1
