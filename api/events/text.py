"""Renders events as the text of a stream (WHATWG HTML, section 9.2), once for all listeners."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.service.domain.schema import EventType, JobEvent, StepProgress, Variant
from core.service.domain.views import chunk_url

TERMINAL_EVENTS = frozenset({EventType.JOB_SUCCEEDED, EventType.JOB_FAILED, EventType.JOB_CANCELED})
VARIANT_OF_CHUNK: Mapping[str, Variant] = {EventType.CHUNK_COMPLETED: "preview", EventType.CHUNK_REFINED: "refined"}
"""The variant of the chunk in an event of this type."""
_BASE_URL = f"base-url-{secrets.token_hex(16)}"
"""Placeholder of the public URL, which may differ between listeners. Random, so that no job's text contains it; JSON
does not escape it."""


@dataclass(frozen=True)
class Page:
    """Consecutive events of one job's log as text, with a placeholder for the public URL. `last` is the id of the last
    event; `is_last`: no more events will come."""

    text: str
    last: str
    is_last: bool = False

    def text_for(self, base_url: str) -> str:
        """The text for a listener whose public URL is `base_url`, without a trailing slash."""
        return self.text.replace(_BASE_URL, json.dumps(base_url)[1:-1])


def page_of(events: Sequence[JobEvent]) -> Page:
    """The page of at least one event. A job that went on after its end has events after one that told of it."""
    is_last = events[-1].type in TERMINAL_EVENTS
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
    url = chunk_url(_BASE_URL, event.job_id, chunk["index"], VARIANT_OF_CHUNK[event.type])
    return event.model_copy(update={"data": {**event.data, "chunk": {**chunk, "url": url}}})
