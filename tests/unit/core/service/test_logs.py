"""JSON lines: what a line has, one object a line, and no secret in it."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from core.service.logs import JsonLines, without_secrets, working_on
from core.service.request_ids import working_for


def line(message: str = "it went", *args: object, worker_id: str | None = None, **more: Any) -> dict[str, Any]:
    """The object that a record becomes."""
    record = logging.LogRecord("a.logger", logging.WARNING, "f", 1, message, args, more.get("exc_info"))
    record.created = 1_800_000_000.25
    text = JsonLines(worker_id).format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_outside_of_any_work() -> None:
    assert line("%s went", "it") == {
        "time": "2027-01-15T08:00:00.250+00:00",
        "level": "WARNING",
        "logger": "a.logger",
        "message": "it went",
    }


def test_a_line_names_what_it_was_written_for() -> None:
    with working_for("trace-7"), working_on("job_a", 0):
        inside = line(worker_id="w")
        with working_on("job_b"):
            assert (line()["job_id"], "chunk" in line()) == ("job_b", False)
    known = {name: inside[name] for name in ("request_id", "job_id", "chunk", "worker_id")}
    assert known == {"request_id": "trace-7", "job_id": "job_a", "chunk": 0, "worker_id": "w"}
    assert {"request_id", "job_id", "chunk"}.isdisjoint(line())


def test_lines_of_a_message_stay_one_line() -> None:
    assert line('a "quoted"\nsecond line')["message"] == 'a "quoted"\nsecond line'


def test_a_traceback_is_in_the_line_without_its_secrets() -> None:
    try:
        raise RuntimeError("GET https://user:pass-7@s3.example/x?X-Amz-Signature=sign-7 failed")
    except RuntimeError as error:
        told = line(exc_info=(type(error), error, error.__traceback__))["error"]
    assert told.startswith("Traceback")
    assert "RuntimeError: GET https://...@s3.example/x?... failed" in told
    assert "-7" not in told


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        (
            '1.2.3.4:5 - "GET /jobs/a/events?token=6.abc&x=1 HTTP/1.1" 200',
            '1.2.3.4:5 - "GET /jobs/a/events?... HTTP/1.1" 200',
        ),
        ('"GET /jobs?bare HTTP/1.1"', '"GET /jobs?... HTTP/1.1"'),
        ("GET /jobs?q='x&api_key=SECRET HTTP/1.1", "GET /jobs?... HTTP/1.1"),
        ("GET /jobs?a=<b>&k=SECRET HTTP/1.1", "GET /jobs?... HTTP/1.1"),
        ("GET /'?k=SECRET HTTP/1.1", "GET /'?... HTTP/1.1"),
        ("redis://:pass@host:1/0 is away", "redis://...@host:1/0 is away"),
        ("redis://:pa'ss@h is away", "redis://...@h is away"),
        ("redis://u:p@ss@h is away", "redis://...@h is away"),
        ('redis://u:<p@"ss>@h/0 is away', "redis://...@h/0 is away"),
        ("https://h/a and mail@h", "https://h/a and mail@h"),
        ("sentinel://u:p@h1:1,h2:2/0?master=m&sentinel_password=p", "sentinel://...@h1:1,h2:2/0?..."),
        ("Authorization: Bearer abc.def-ghi/=", "Authorization: Bearer ..."),
        ("header b'authorization', b'Basic dXNlcjpwYXNz'", "header b'authorization', b'Basic ...'"),
        ("the key lt_0123456789abcdef_x was refused", "the key lt_... was refused"),
        ("whsec_AAAAAAAAAAAAAAAA", "whsec_..."),
        ("is this right? yes, 3/4 of it", "is this right? yes, 3/4 of it"),
        ("chunk 3 of job_a: 16/16", "chunk 3 of job_a: 16/16"),
    ],
)
def test_secrets_are_cut_out_and_other_text_stays(text: str, cut: str) -> None:
    assert without_secrets(text) == cut


@pytest.mark.parametrize("part", ["/", "a://", "://@", "x@", "?a ", "?", "bearer ", " ", "a+"])
def test_long_hostile_text_is_searched_in_linear_time(part: str) -> None:
    """A pattern that backtracks would take minutes: pytest's time limit fails the test."""
    without_secrets(f"bearer{200_000 * part}")
