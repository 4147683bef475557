"""The tests of everything that is in Redis, on each server of other versions that can be had here.

    python -m tests.redis_versions [NAME ...]

Fetches the servers (tests/redis_versions/servers.py), runs the tests on each, and prints a table for
docs/operations.md. One that cannot be had is named with the reason. The exit code is 1 if a test failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cli.processes.programs import find_redis
from tests.redis_versions.servers import SOURCES, CannotFetch, Source, server_of

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS = tuple(
    f"tests/integration/test_{name}.py"
    for name in (
        *("store_contract", "schedule", "pauses", "usage", "janitor_lock", "versions"),
        *("places", "clock_skew", "transactions", "partial_changes"),
        *("redis_failures", "message_queue", "sentinel", "lost_redis"),
    )
)
"""All scripts and transactions, messages, outages and failover. test_redis_versions.py has whole jobs."""


def main(names: Sequence[str]) -> int:
    lines, failed = ["| server | version | tests | date |", "|---|---|---|---|"], False
    for source in SOURCES:
        if not names or source.name in names:
            passed, line = _tested(source)
            failed |= not passed
            lines.append(line)
            print(line, flush=True)
    print("\n".join(["", *lines]))
    return int(failed)


def _tested(source: Source) -> tuple[bool, str]:
    try:
        folder = server_of(source)
    except CannotFetch as error:
        return True, f"| {source.name} | not to be had: {error} | | |"
    server = find_redis(str(folder))
    # The first redis-server on PATH is the one that every test and every `longtake up` starts.
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    log = folder / "tests.log"
    with log.open("w") as sink:
        command = [sys.executable, "-m", "pytest", "-q", *TESTS]
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=sink, stderr=sink, check=False)
    said = re.findall(r"\d+ (?:passed|failed|error|skipped)\w*", log.read_text().rpartition("\n=")[2][-300:])
    result = ", ".join(said) or f"exit code {done.returncode}"
    print(f"{server}: {result}; {log}", flush=True)
    return done.returncode == 0, f"| {server.product} | {server.version} | {result} | {datetime.now(UTC):%Y-%m-%d} |"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
