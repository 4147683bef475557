"""Events as the text of a stream (WHATWG HTML, section 9.2): rendered once for all who listen. Knows no listener.

Blocking: signing a URL may ask for new credentials. Never called on the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from api.ports import Ports
from core.service.manifest import chunk_key, refined_key
from core.service.schema import EventType, JobEvent, StepProgress

TERMINAL_EVENTS = frozenset({EventType.JOB_SUCCEEDED, EventType.JOB_FAILED, EventType.JOB_CANCELED})
KEY_OF_CHUNK: Mapping[str, Callable[[str, int], str]] = {
    EventType.CHUNK_COMPLETED: chunk_key,
    EventType.CHUNK_REFINED: refined_key,
}
"""Key of the object that an event of this type is about."""


@dataclass(frozen=True)
class Page:
    """Consecutive entries of one job's log as text. `last` is the id to go on after; `over`: no more will come."""

    text: str
    last: str
    over: bool = False


def page_of(events: Sequence[JobEvent], ports: Ports) -> Page:
    """At least one event, up to the job's last one. Raises StorageError."""
    end = next((index for index, event in enumerate(events) if event.type in TERMINAL_EVENTS), None)
    shown = events if end is None else events[: end + 1]
    return Page("".join(_text_of(event, ports) for event in shown), shown[-1].id, over=end is not None)


def progress_text(progress: StepProgress) -> str:
    """Progress has no id: it is not in the log, one resumes from the last event that is."""
    return f"event: job.progress\ndata: {progress.model_dump_json()}\n\n"


def _text_of(event: JobEvent, ports: Ports) -> str:
    # A newer version may say less of a chunk than this one knows.
    has_chunk = event.type in KEY_OF_CHUNK and "index" in event.data.get("chunk", ())
    shown = _with_url(event, ports) if has_chunk else event
    return f"id: {shown.id}\nevent: {shown.type}\ndata: {shown.model_dump_json()}\n\n"


def _with_url(event: JobEvent, ports: Ports) -> JobEvent:
    """A finished chunk's event with its URL."""
    chunk = event.data["chunk"]
    return event.model_copy(update={"data": {**event.data, "chunk": {**chunk, "url": _url_of(event, ports)}}})


def _url_of(event: JobEvent, ports: Ports) -> str:
    """Signed now: the log outlives every signature."""
    return ports.storage.url(KEY_OF_CHUNK[event.type](event.job_id, event.data["chunk"]["index"]))
