"""The access log has every request, and no query."""

from __future__ import annotations

import logging

import pytest

from api.http.access_log import WithoutQueries
from api.server import config_of, parser
from core.service.settings import Settings


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/jobs/job_a/chunks/0.mp4?variant=refined&token=6.abc-_&x=1", "/jobs/job_a/chunks/0.mp4?..."),
        ("/jobs?q='x&api_key=abc", "/jobs?..."),
        ("/jobs?a=<b>&k=abc?abc", "/jobs?..."),
        ("/jobs?", "/jobs?..."),
        ("/jobs/job_a%3Ftoken=6.abc?limit=1", "/jobs/job_a%3F..."),
        ("/jobs/job_a%3ftoken=6.abc", "/jobs/job_a%3f..."),
        ("/jobs/50%25", "/jobs/50%25"),
        ("/jobs/job_a", "/jobs/job_a"),
    ],
)
def test_queries_are_cut_off(path: str, logged: str) -> None:
    args = ("127.0.0.1:1", "GET", path, "1.1", 200)  # uvicorn's
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', args, None)
    assert WithoutQueries().filter(record)
    assert record.getMessage() == f'127.0.0.1:1 - "GET {logged} HTTP/1.1" 200'


def test_the_server_s_access_log_has_the_filter() -> None:
    config = config_of(parser().parse_args(["--access-log"]), Settings()).log_config
    assert isinstance(config, dict)
    assert config["handlers"]["access"]["filters"] == ["queries"]
    assert config["filters"]["queries"] == {"()": WithoutQueries}
