"""Renders events as the text of a stream (WHATWG HTML, section 9.2), once for all listeners."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from core.service.domain.schema import EventType, JobEvent, StepProgress, Variant
from core.service.domain.views import PublicUrls, chunk_url

TERMINAL_EVENTS = frozenset({EventType.JOB_SUCCEEDED, EventType.JOB_FAILED, EventType.JOB_CANCELED})
VARIANT_OF_CHUNK: Mapping[str, Variant] = {EventType.CHUNK_COMPLETED: "preview", EventType.CHUNK_REFINED: "refined"}
"""The variant of the chunk in an event of this type."""
_BASE_URL = f"base-url-{secrets.token_hex(16)}"
"""Placeholder of the public URL, which may differ between listeners. Random, so that no job's text contains it; JSON
does not escape it."""
_TOKENS: Mapping[Variant, str] = {"preview": f"?{secrets.token_hex(16)}", "refined": f"&{secrets.token_hex(16)}"}
"""The same of the token, with the character that it needs before it."""


@dataclass(frozen=True)
class ChunkLinks:
    """How links of chunks begin (without a trailing slash), and their token."""

    base_url: str
    token: str | None = None


@dataclass(frozen=True)
class Permit:
    """What a listener gets for now. `renewed` returns what it gets from then on, None if it may not listen any more."""

    links: ChunkLinks
    renewed: Callable[[], Awaitable[Permit | None]] | None = None
    """None: never to be renewed."""


@dataclass(frozen=True)
class ListPermit:
    """What a listener to all jobs of `owner` (as of JobStore.list) gets for now. `renewed` as of Permit."""

    owner: str | None
    urls: PublicUrls
    renewed: Callable[[], Awaitable[ListPermit | None]]


@dataclass(frozen=True)
class Page:
    """Consecutive events of one job's log as text, with placeholders for the listener's links. `last` is the id of the
    last event; `is_last`: no more events will come."""

    text: str
    last: str
    is_last: bool = False

    def text_for(self, links: ChunkLinks) -> str:
        """The text for a listener with these links."""
        text = self.text.replace(_BASE_URL, json.dumps(links.base_url)[1:-1])
        for placeholder in _TOKENS.values():
            text = text.replace(placeholder, "" if links.token is None else f"{placeholder[0]}token={links.token}")
        return text


def page_of(events: Sequence[JobEvent]) -> Page:
    """The page of at least one event. A job that went on after its end has events after one that told of it. One that
    is measured has ended before."""
    newest = next((event.type for event in reversed(events) if event.type != EventType.JOB_MEASURED), None)
    is_last = newest is None or newest in TERMINAL_EVENTS
    return Page("".join(_text_of(event) for event in events), events[-1].id, is_last)


def progress_text(progress: StepProgress) -> str:
    """Progress has no id, because it is not in the log: clients resume after the last event."""
    return f"event: job.progress\ndata: {progress.model_dump_json()}\n\n"


def _text_of(event: JobEvent) -> str:
    # A newer version may store fewer fields of a chunk.
    has_chunk = event.type in VARIANT_OF_CHUNK and "index" in event.data.get("chunk", ())
    shown = _with_url(event) if has_chunk else event
    return f"id: {shown.id}\nevent: {shown.type}\ndata: {shown.model_dump_json()}\n\n"


def _with_url(event: JobEvent) -> JobEvent:
    """The event with the chunk's URL."""
    chunk = event.data["chunk"]
    variant = VARIANT_OF_CHUNK[event.type]
    url = chunk_url(_BASE_URL, event.job_id, chunk["index"], variant) + _TOKENS[variant]
    return event.model_copy(update={"data": {**event.data, "chunk": {**chunk, "url": url}}})
