"""The access log has every request, and no token of a link."""

from __future__ import annotations

import logging

import pytest

from api.http.access_log import WithoutTokens
from api.server import config_of, parser
from core.service.settings import Settings


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/jobs/job_a/chunks/0.mp4?variant=refined&token=6.abc-_&x=1", "variant=refined&token=...&x=1"),
        ("/jobs/job_a/events?token=6.abc", "/jobs/job_a/events?token=..."),
        ("/jobs?cursor=token=1", "/jobs?cursor=token=1"),
    ],
)
def test_tokens_are_cut_out(path: str, logged: str) -> None:
    args = ("127.0.0.1:1", "GET", path, "1.1", 200)  # uvicorn's
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', args, None)
    assert WithoutTokens().filter(record)
    assert f'{logged} HTTP/1.1" 200' in record.getMessage()
    assert "abc" not in record.getMessage()


def test_the_server_s_access_log_has_the_filter() -> None:
    config = config_of(parser().parse_args(["--access-log"]), Settings()).log_config
    assert isinstance(config, dict)
    assert config["handlers"]["access"]["filters"] == ["tokens"]
    assert config["filters"]["tokens"] == {"()": WithoutTokens}
