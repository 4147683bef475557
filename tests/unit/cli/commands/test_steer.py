"""`longtake steer` and `longtake cancel`: what they ask of the API, and what they print."""

from __future__ import annotations

import functools
import json

import httpx
import pytest

import client
from cli.main import main
from tests.helpers.shown_jobs import MakeJob

PROMPT = "a blue square"


class Api:
    """Answers with a job, and keeps what it was asked."""

    def __init__(self, make_job: MakeJob) -> None:
        self.asked = list[tuple[str, str, object]]()
        self._job = make_job().model_dump(mode="json")

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.asked.append((request.method, request.url.path, body))
        acts_from = 32 if isinstance(body, dict) and "prompt" in body else None
        return httpx.Response(200, json={**self._job, "acts_from_frame": acts_from})


@pytest.fixture
def api(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> Api:
    answering = Api(make_job)
    transport = httpx.MockTransport(answering)
    monkeypatch.setattr(client, "Client", functools.partial(client.Client, transport=transport))
    return answering


@pytest.mark.parametrize(
    ("words", "body", "printed"),
    [
        ([PROMPT], {"prompt": PROMPT}, "acts from frame 32\n"),
        (["--frames", "48"], {"num_frames": 48}, "ends after 48 frames\n"),
        (
            [PROMPT, "--from-frame", "32", "--frames", "48"],
            {"prompt": PROMPT, "from_frame": 32, "num_frames": 48},
            "acts from frame 32\nends after 48 frames\n",
        ),
    ],
)
def test_prompt_and_length_are_changed_together_or_alone(
    api: Api, capsys: pytest.CaptureFixture[str], words: list[str], body: object, printed: str
) -> None:
    assert main(["steer", "job_x", *words]) == 0
    assert api.asked == [("PATCH", "/jobs/job_x", body)]
    assert capsys.readouterr().out == printed


def test_cancel_prints_the_status(api: Api, make_job: MakeJob, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cancel", "job_x"]) == 0
    assert api.asked == [("POST", "/jobs/job_x/cancel", None)]
    assert capsys.readouterr().out == f"{make_job().status.value}\n"
