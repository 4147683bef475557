"""`python -m benchmarks.listeners PORT COUNT < jobs`: many event-stream clients in one process.

Raw sockets on one event loop, so that the listeners cost little beside the API that is measured. A line of `jobs` is
the id of a job and, if there are API keys, one that may read it. Listener n follows job n modulo the number of jobs.
Prints `all listen` once each has its first event, and at the end the report as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

from api.http.client_limits import raise_open_file_limit

CONNECTING_AT_ONCE = 32
_ID = re.compile(rb"^id: (\d+-\d+)$", re.MULTILINE)
_PROGRESS = re.compile(rb"^event: job\.progress$", re.MULTILINE)


@dataclass
class ListenersReport:
    """`ids`: event ids and the number of listeners that got exactly these. `progress`: progress events of all.
    `spread_seconds`: by event id, the time from the first to the last listener that got it.
    """

    ids: list[tuple[list[str], int]] = field(default_factory=lambda: [])
    progress: int = 0
    spread_seconds: dict[str, float] = field(default_factory=lambda: {})
    failures: list[str] = field(default_factory=lambda: [])


class Listeners:
    """The process of the listeners."""

    def __init__(self, port: int, count: int, job_ids: Sequence[str], folder: Path, keys: Sequence[str] = ()) -> None:
        """`keys`: an API key for each job."""
        self._input = folder / "jobs-of-listeners"
        lines = [f"{job_id} {key}" for job_id, key in zip(job_ids, keys, strict=True)] if keys else job_ids
        self._input.write_text("\n".join(lines))
        command = [sys.executable, "-m", "benchmarks.listeners", str(port), str(count)]
        with self._input.open() as ids:
            self._process = subprocess.Popen(command, stdin=ids, stdout=subprocess.PIPE, text=True)

    def wait_until_all_listen(self) -> None:
        line = self._line()
        assert line == "all listen", line

    def report(self) -> ListenersReport:
        """Waits for the end of all streams."""
        return ListenersReport(**json.loads(self._line()))

    def __enter__(self) -> Listeners:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip()


class _Client:
    """All listeners, inside their process."""

    def __init__(self, port: int, count: int, jobs: Sequence[str]) -> None:
        self._port = port
        self._jobs = [jobs[number % len(jobs)] for number in range(count)]
        self._connecting = asyncio.Semaphore(CONNECTING_AT_ONCE)
        self._without_event = count
        self._ids = Counter[tuple[str, ...]]()
        self._times: dict[str, tuple[float, float]] = {}
        self._report = ListenersReport()

    async def run(self) -> ListenersReport:
        await asyncio.gather(*map(self._listen, self._jobs))
        self._report.ids = [(list(ids), count) for ids, count in self._ids.most_common()]
        self._report.spread_seconds = {event_id: last - first for event_id, (first, last) in self._times.items()}
        return self._report

    async def _listen(self, job: str) -> None:
        ids, (job_id, _, key) = list[str](), job.partition(" ")
        async with self._connecting:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 14)
            lines = [f"GET /jobs/{job_id}/events HTTP/1.1", "Host: localhost", "Connection: close", *authorization(key)]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                self._report.failures.append(head.decode(errors="replace"))
                return writer.close()
            await self._next(reader, ids)
        while await self._next(reader, ids):
            pass
        self._ids[tuple(ids)] += 1
        writer.close()

    async def _next(self, reader: asyncio.StreamReader, ids: list[str]) -> bool:
        """Read up to an empty line. False at the end."""
        try:
            part = (await reader.readuntil(b"\n\n")).replace(b"\r", b"")
        except asyncio.IncompleteReadError:
            return False
        now = time.monotonic()
        for found in _ID.findall(part):
            event_id = found.decode()
            if not ids:
                self._got_first_event()
            ids.append(event_id)
            first, last = self._times.get(event_id, (now, now))
            self._times[event_id] = (min(first, now), max(last, now))
        self._report.progress += len(_PROGRESS.findall(part))
        return True

    def _got_first_event(self) -> None:
        self._without_event -= 1
        if self._without_event == 0:
            print("all listen", flush=True)


def authorization(key: str) -> list[str]:
    """The header line that carries an API key, if there is one."""
    return [f"Authorization: Bearer {key}"] if key else []


def main() -> None:
    raise_open_file_limit()
    port, count = int(sys.argv[1]), int(sys.argv[2])

    async def listen() -> ListenersReport:
        return await _Client(port, count, sys.stdin.read().splitlines()).run()

    print(json.dumps(asdict(asyncio.run(listen()))), flush=True)


if __name__ == "__main__":
    main()
