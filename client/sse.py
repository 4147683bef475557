"""Server-sent events, parsed line by line (WHATWG HTML, section 9.2.6). No I/O."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from core.service.domain.schema import EventType

_LAST = frozenset({EventType.JOB_SUCCEEDED, EventType.JOB_FAILED, EventType.JOB_CANCELED})


@dataclass(frozen=True)
class ServerEvent:
    """One event of a job's stream.

    `id` resumes the stream after this event; `job.progress`, which is not logged, has that of the event before it.
    `type` is for example `chunk.completed`, `data` is JSON text.
    """

    id: str
    type: str
    data: str

    @property
    def is_last(self) -> bool:
        """Whether the job has ended with it. If the job has gone on since, its stream has more events."""
        return self.type in _LAST

    def json(self) -> dict[str, Any]:
        """`data`, parsed."""
        return json.loads(self.data)


@dataclass
class EventParser:
    """Feed it the lines of one stream. Comments and `retry` are ignored."""

    _id: str = ""
    _type: str = "message"
    _data: list[str] = field(default_factory=list[str])

    def feed(self, line: str) -> ServerEvent | None:
        """The event that this line completes, or None. `line` is without its line ending."""
        if not line:
            return self._complete()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            self._id = value
        elif name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        return None

    def _complete(self) -> ServerEvent | None:
        event = ServerEvent(self._id, self._type, "\n".join(self._data)) if self._data else None
        self._type, self._data = "message", []
        return event


def parse_events(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """All events of a stream's lines."""
    parser = EventParser()
    for line in lines:
        if (event := parser.feed(line)) is not None:
            yield event


async def parse_events_async(lines: AsyncIterable[str]) -> AsyncGenerator[ServerEvent]:
    """The same of lines that are awaited."""
    parser = EventParser()
    async for line in lines:
        if (event := parser.feed(line)) is not None:
            yield event
