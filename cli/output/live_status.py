"""Shows GET /status: once, or as a table that is read again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TextIO

from rich.console import Console
from rich.live import Live

from cli.output.status_table import Outage, Picture
from client import ApiUnreachable, LimitReached, ServiceStatus, ServiceUnavailable

PIPE_WIDTH = 160
"""Columns where there is no terminal: nothing is folded, so that a line can be searched for."""


class StatusScreen:
    """The table of the service at `url`, on one output stream."""

    def __init__(
        self,
        url: str,
        stream: TextIO | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        console = Console(file=stream, highlight=False, markup=False, emoji=False)
        if not console.is_terminal:
            console = Console(file=stream, highlight=False, markup=False, emoji=False, width=PIPE_WIDTH)
        self._console, self._url, self._sleep, self._now = console, url, sleep, now

    @property
    def interactive(self) -> bool:
        return self._console.is_terminal

    def show(self, status: ServiceStatus) -> None:
        """One picture."""
        self._console.print(Picture(status, self._url))

    def follow(self, read: Callable[[], ServiceStatus], seconds: float) -> None:
        """Show what `read` returns, every so often, until Ctrl-C. Once there is a picture, an API that does not answer
        leaves it there. Raises ClientError if the first read fails, or the API refuses a later one."""
        status, outage = read(), None
        with suppress(KeyboardInterrupt), self._live(status) as live:
            while True:
                self._sleep(seconds)
                try:
                    status, outage = read(), None
                except (ApiUnreachable, LimitReached, ServiceUnavailable) as error:
                    outage = Outage(outage.since if outage else self._now(), error.message)
                live.update(Picture(status, self._url, outage, fitted=True), refresh=True)

    def _live(self, status: ServiceStatus) -> Live:
        first = Picture(status, self._url, fitted=True)
        return Live(first, console=self._console, auto_refresh=False, vertical_overflow="ellipsis")
