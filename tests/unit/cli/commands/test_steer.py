"""`longtake steer`: what it asks of the API, and what it prints."""

from __future__ import annotations

import json

import pytest

from cli.main import main
from tests.unit.cli.commands.conftest import Api

PROMPT = "a blue square"


@pytest.mark.parametrize(
    ("words", "body", "printed"),
    [
        ([PROMPT], {"prompt": PROMPT}, "acts from frame 32\n"),
        (["--frames", "48"], {"num_frames": 48}, "ends after 48 frames\n"),
        (["--priority", "high"], {"priority": "high"}, "has the priority normal\n"),
        (
            [PROMPT, "--from-frame", "32", "--frames", "48"],
            {"prompt": PROMPT, "from_frame": 32, "num_frames": 48},
            "acts from frame 32\nends after 48 frames\n",
        ),
    ],
)
def test_prompt_length_and_priority_are_changed_together_or_alone(
    api: Api, capsys: pytest.CaptureFixture[str], words: list[str], body: object, printed: str
) -> None:
    assert main(["steer", "job_x", *words]) == 0
    assert api.asked[-1] == ("PATCH", "/jobs/job_x", body)
    assert capsys.readouterr().out == printed


def test_the_answer_is_printed_as_json(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["steer", "job_x", PROMPT, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["acts_from_frame"] == 32
    assert len(api.asked) == 2
