"""Spans that this process records, kept in memory instead of being sent."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from core.service import tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class RecordedSpans:
    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def all(self) -> Sequence[ReadableSpan]:
        """Those that have ended, in this order: what a collector would get."""
        return self._exporter.get_finished_spans()


@contextmanager
def recording_spans() -> Generator[RecordedSpans]:
    """Within it, traces are on."""
    spans = RecordedSpans()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "_tracer", spans.provider.get_tracer("tests"))
        yield spans
    spans.provider.shutdown()
