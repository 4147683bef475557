"""Events as the text of a stream (WHATWG HTML, section 9.2): rendered once for all who listen. Knows no listener."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.service.domain.schema import EventType, JobEvent, StepProgress, Variant
from core.service.domain.views import chunk_url

TERMINAL_EVENTS = frozenset({EventType.JOB_SUCCEEDED, EventType.JOB_FAILED, EventType.JOB_CANCELED})
VARIANT_OF_CHUNK: Mapping[str, Variant] = {EventType.CHUNK_COMPLETED: "preview", EventType.CHUNK_REFINED: "refined"}
"""Of which variant the chunk is that an event of this type is about."""
_BASE_URL = f"base-url-{secrets.token_hex(16)}"
"""Stands for the address under which a listener reaches this API. Random, so that no text of a job holds it; the same
in JSON."""


@dataclass(frozen=True)
class Page:
    """Consecutive entries of one job's log as text, the same for all but for the base of links in it. `last` is the id
    to go on after; `over`: no more will come."""

    text: str
    last: str
    over: bool = False

    def text_for(self, base_url: str) -> str:
        """For a listener who reaches this API under `base_url`, without a slash at the end."""
        return self.text.replace(_BASE_URL, json.dumps(base_url)[1:-1])


def page_of(events: Sequence[JobEvent]) -> Page:
    """At least one event, up to the job's last one."""
    end = next((index for index, event in enumerate(events) if event.type in TERMINAL_EVENTS), None)
    shown = events if end is None else events[: end + 1]
    return Page("".join(_text_of(event) for event in shown), shown[-1].id, over=end is not None)


def progress_text(progress: StepProgress) -> str:
    """Progress has no id: it is not in the log, one resumes from the last event that is."""
    return f"event: job.progress\ndata: {progress.model_dump_json()}\n\n"


def _text_of(event: JobEvent) -> str:
    # A newer version may say less of a chunk than this one knows.
    has_chunk = event.type in VARIANT_OF_CHUNK and "index" in event.data.get("chunk", ())
    shown = _with_url(event) if has_chunk else event
    return f"id: {shown.id}\nevent: {shown.type}\ndata: {shown.model_dump_json()}\n\n"


def _with_url(event: JobEvent) -> JobEvent:
    """A finished chunk's event with its URL."""
    chunk = event.data["chunk"]
    url = chunk_url(_BASE_URL, event.job_id, chunk["index"], VARIANT_OF_CHUNK[event.type])
    return event.model_copy(update={"data": {**event.data, "chunk": {**chunk, "url": url}}})
