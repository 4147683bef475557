"""What the commands that talk to the API share: the option --url and a client for it."""

from __future__ import annotations

import argparse
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from core.service.domain.errors import LongtakeError

if TYPE_CHECKING:
    from client import Client


class RequestFailed(LongtakeError):
    """The API refused a request or could not be reached."""

    code = "request_failed"


def add_url_argument(parser: argparse.ArgumentParser) -> None:
    """--url, the same for every command that talks to the API."""
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the API (default: %(default)s)")


@contextmanager
def api_client(url: str) -> Generator[Client]:
    """A client of the API at `url`. Its exceptions become RequestFailed, which the command line prints."""
    from client import Client, ClientError

    try:
        with Client(url) as client:
            yield client
    except ClientError as error:
        raise RequestFailed(str(error), fix=error.fix) from error
