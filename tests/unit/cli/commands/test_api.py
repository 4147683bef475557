"""Commands print one sentence if the API refuses or does not answer."""

from __future__ import annotations

import pytest

from cli.commands.api import RequestFailed, api_client
from cli.main import main
from client import ApiError, KeyRefused


def test_an_error_of_the_api_keeps_its_field_and_its_fix() -> None:
    with pytest.raises(RequestFailed) as raised, api_client("http://api.test"):
        raise ApiError("5 is too few", status=422, field="num_frames", fix="give at least 16")
    assert raised.value.with_fix == "num_frames: 5 is too few (give at least 16)"


def test_a_missing_key_is_named_as_a_person_gives_it() -> None:
    with pytest.raises(RequestFailed, match="needs a key") as raised, api_client("http://api.test"):
        raise KeyRefused("this needs a key", status=401, fix="send Authorization: Bearer lt_...")
    assert raised.value.fix == "set LONGTAKE_KEY, or pass --key"


def test_an_api_that_does_not_answer_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "job_x", "--url", "http://127.0.0.1:9"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("longtake: http://127.0.0.1:9 does not answer: ")
    assert said.endswith("(is `longtake up` running?)\n")


def test_a_url_without_a_scheme_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", "api", "--url", "127.0.0.1:8000"]) == 1
    assert "is not the URL of an API" in capsys.readouterr().err
