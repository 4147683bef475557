"""What the commands that talk to the API share: the options --url, --key and --json, and a client."""

from __future__ import annotations

import argparse
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from core.service.domain.errors import LongtakeError

if TYPE_CHECKING:
    from client import Job, Longtake


class RequestFailed(LongtakeError):
    """The API refused a request or could not be reached."""

    code = "request_failed"


def add_api_arguments(parser: argparse.ArgumentParser) -> None:
    """--url and --key, the same for every command that talks to the API."""
    url = os.environ.get("LONGTAKE_URL") or "http://127.0.0.1:8000"
    parser.add_argument("--url", default=url, help="address of the API (default: LONGTAKE_URL, or %(default)s)")
    parser.add_argument("--key", help="API key (default: LONGTAKE_KEY; better there, as other users see command lines)")


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """--json, for scripts."""
    parser.add_argument("--json", action="store_true", help="print the API's answer as JSON")


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """The id of a job, and the options of every command that talks to the API."""
    parser.add_argument("job", help="id of the job")
    add_api_arguments(parser)
    add_json_argument(parser)


@contextmanager
def api_client(url: str, key: str | None = None, *, max_retries: int = 2) -> Generator[Longtake]:
    """A client of the API at `url`; `max_retries` as of Longtake. Its exceptions become RequestFailed, which the
    command line prints."""
    from client import ClientError, KeyRefused, Longtake

    try:
        with Longtake(url, key, max_retries=max_retries) as client:
            yield client
    except ClientError as error:
        fix = "set LONGTAKE_KEY, or pass --key" if isinstance(error, KeyRefused) else error.fix
        raise RequestFailed(str(error), fix=fix) from error


@contextmanager
def api_of(args: argparse.Namespace, *, max_retries: int = 2) -> Generator[Longtake]:
    """A client of the API that the command line names."""
    with api_client(args.url, args.key or os.environ.get("LONGTAKE_KEY"), max_retries=max_retries) as client:
        yield client


@contextmanager
def job_of(args: argparse.Namespace) -> Generator[Job]:
    """The job that the command line names."""
    with api_of(args) as client:
        yield client.jobs.get(args.job)
