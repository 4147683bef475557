"""`longtake keys`: what it asks of the API, and where the secrets go."""

from __future__ import annotations

import argparse
import json

import pytest

from cli.commands.keys import LIMITS, SCHEDULING
from cli.main import main, parse_args
from core.service.domain.api_keys import KeyLimits
from tests.unit.cli.commands.conftest import Api

KEY = {"id": "key_x", "name": "Example", "scope": "jobs", "limits": {"frames_per_day": 5, "frames": None}}
NEW = {**KEY, "key": "lt_text", "webhook_secret": "whsec_secret"}


def test_a_new_key_s_text_is_alone_on_stdout(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["POST", "/keys"] = NEW
    assert main(["keys", "create", "Example", "--scope", "read", "--frames-per-day", "5"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "lt_text\n"
    assert "whsec_secret" in printed.err
    assert api.asked == [("POST", "/keys", {"name": "Example", "scope": "read", "limits": {"frames_per_day": 5}})]


def test_keys_are_listed_a_line_each(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    revoked = {**KEY, "id": "key_y", "limits": {}, "revoked_at": "2026-01-02T03:04:05Z"}
    api.answers["GET", "/keys"] = {"keys": [KEY, revoked]}
    assert main(["keys", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "key_x  jobs   valid    Example  (frames_per_day 5)",
        "key_y  jobs   revoked  Example",
    ]
    assert main(["keys", "list", "--json"]) == 0
    assert [key["id"] for key in json.loads(capsys.readouterr().out)] == ["key_x", "key_y"]


def test_limits_are_changed_removed_and_shown_with_what_is_used(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["PATCH", "/keys/key_x"] = api.answers["GET", "/keys/key_x"] = {**KEY, "usage": {"frames_today": 3}}
    assert main(["keys", "limits", "key_x", "--frames", "480", "--unfinished-jobs", "none"]) == 0
    assert main(["keys", "limits", "key_x"]) == 0
    changes = {"limits": {"frames": 480, "unfinished_jobs": None}}
    assert api.asked == [("PATCH", "/keys/key_x", changes), ("GET", "/keys/key_x", None)]
    printed = capsys.readouterr().out
    assert "frames_per_day         5\n" in printed
    assert "frames                 no limit\n" in printed
    assert "frames_today used      3\n" in printed


def test_priority_and_share_are_given_changed_and_shown(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["POST", "/keys"] = NEW
    api.answers["PATCH", "/keys/key_x"] = {**KEY, "limits": {"max_priority": "high", "share": 2.5}}
    assert main(["keys", "create", "Example", "--max-priority", "low", "--share", "0.5"]) == 0
    assert main(["keys", "limits", "key_x", "--max-priority", "high", "--share", "2.5"]) == 0
    printed = capsys.readouterr().out
    assert "max_priority           high\n" in printed
    assert "share                  2.5\n" in printed
    assert main(["keys", "limits", "key_x", "--max-priority", "none", "--share", "none"]) == 0
    assert [body for _, _, body in api.asked] == [
        {"name": "Example", "scope": "jobs", "limits": {"max_priority": "low", "share": 0.5}},
        {"limits": {"max_priority": "high", "share": 2.5}},
        {"limits": {"max_priority": None, "share": None}},
    ]


@pytest.mark.parametrize(("scope", "most"), [("jobs", "normal"), ("admin", "high")])
def test_the_defaults_of_priority_and_share_are_shown(
    api: Api, capsys: pytest.CaptureFixture[str], scope: str, most: str
) -> None:
    api.answers["GET", "/keys/key_x"] = {**KEY, "scope": scope, "limits": {"max_priority": None, "share": None}}
    assert main(["keys", "limits", "key_x"]) == 0
    printed = capsys.readouterr().out
    assert f"max_priority           {most}\n" in printed
    assert "share                  1\n" in printed


@pytest.mark.parametrize("wrong", ["0", "0.001", "101", "nan", "much", "-1", ""])
def test_a_share_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    with pytest.raises(SystemExit):
        parse_args(["keys", "create", "x", f"--share={wrong}"])
    said = f"argument --share: {wrong!r} is neither a number from 0.01 to 100 nor 'none'"
    assert said in capsys.readouterr().err


def test_a_key_or_its_webhook_secret_is_rotated(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["POST", "/keys/key_x/rotate"] = {**KEY, "key": "lt_newer"}
    api.answers["POST", "/keys/key_x/rotate-webhook-secret"] = {**KEY, "webhook_secret": "whsec_newer"}
    assert main(["keys", "rotate", "key_x"]) == 0
    assert main(["keys", "rotate", "key_x", "--webhook-secret", "--grace-seconds", "60"]) == 0
    assert capsys.readouterr().out == "lt_newer\nwhsec_newer\n"
    assert [body for _, _, body in api.asked] == [{"grace_seconds": 86400}, {"grace_seconds": 60}]


def test_a_key_is_revoked(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "revoke", "key_x"]) == 0
    assert api.asked == [("DELETE", "/keys/key_x", None)]
    assert capsys.readouterr().out == "revoked\n"


def test_every_limit_of_a_key_has_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert {*LIMITS, *SCHEDULING} == set(KeyLimits.model_fields)
    for wrong in ("many", "1.5", "-1", ""):
        with pytest.raises(SystemExit):
            parse_args(["keys", "create", "x", f"--frames={wrong}"])
        said = f"argument --frames: {wrong!r} is neither a whole number nor 'none'"
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("action", ["create", "list", "limits", "rotate", "revoke"])
def test_each_action_explains_itself_with_its_examples(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_args(["keys", action, "--help"])
    _, examples = capsys.readouterr().out.split("examples:")
    assert examples.split()
    assert all(line.strip().startswith(f"longtake keys {action}") for line in examples.strip().splitlines())


def test_json_has_what_the_api_answered_and_no_more(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["GET", "/keys"] = {"keys": [KEY]}
    api.answers["POST", "/keys"] = NEW
    assert main(["keys", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [KEY]
    assert main(["keys", "create", "Example", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == NEW


@pytest.mark.parametrize(
    ("words", "variable", "sent"),
    [
        (["--key", "lt_option"], "lt_variable", "Bearer lt_option"),
        ([], "lt_variable", "Bearer lt_variable"),
        ([], "", None),
    ],
)
def test_the_key_comes_from_the_option_or_from_the_environment(
    api: Api, monkeypatch: pytest.MonkeyPatch, words: list[str], variable: str, sent: str | None
) -> None:
    monkeypatch.setenv("LONGTAKE_KEY", variable)
    api.answers["GET", "/keys"] = {"keys": []}
    assert main(["keys", "list", *words]) == 0
    assert api.keys == [sent]


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_URL", "https://videos.example.com")
    args: argparse.Namespace = parse_args(["get", "job_x"])
    assert args.url == "https://videos.example.com"
