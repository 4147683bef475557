"""Traces with OpenTelemetry, from a request to the webhooks of its job. Off unless an OTLP endpoint is set.

The standard SDK with its own environment variables (OTEL_...). Where it is off, its traces are not imported and a
span costs one comparison. A job keeps the context of its request (JobRecord.trace, a W3C traceparent), so that spans
of all processes are of one trace. Spans wait in a bounded queue for a thread that sends them: a collector that is
away or hangs costs spans, never time of a job.

No attribute is anything that a client wrote: ids, numbers, names of models, lanes and routes. Errors are named by their
class, since their texts may hold URLs.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

logger = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
"""The first that is set counts, and the only protocol that there is here is PROTOCOL."""
PROTOCOL = "http/protobuf"
LAST_SECONDS = 3.0
"""How long an ending process may take to send its last spans."""
Attributes = Mapping[str, str | int | float]
_tracer: Tracer | None = None


class Interval(NamedTuple):
    """A named part of some work; both ends in nanoseconds since 1970, as time.time_ns."""

    name: str
    start: int
    end: int


def set_up_traces(service: str, instance: str | None = None) -> Callable[[], None]:
    """Begin to trace if an endpoint is set; returns what ends it, within LAST_SECONDS. Called once in a process.

    `service`: the name unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES gives one. `instance`: of this process.
    Settings that cannot be used and a missing SDK are logged, and the work goes on without traces.
    """
    if not _is_wanted(os.environ):
        return _nothing
    try:
        return _start(service, instance, os.environ)
    except ImportError as error:
        logger.error("traces are off: %s; install the extra: pip install 'longtake[traces]'", error)
    except Exception as error:  # of a library that reads the environment: traces must not stop a process
        logger.error("traces are off, a variable OTEL_... is wrong: %s", type(error).__name__)
    return _nothing


def _is_wanted(environment: Mapping[str, str]) -> bool:
    off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    none = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"
    return any(environment.get(name) for name in ENDPOINTS) and not off and not none


def _start(service: str, instance: str | None, environment: Mapping[str, str]) -> Callable[[], None]:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    own = {} if named else {"service.name": service}
    if instance is not None:
        own["service.instance.id"] = instance
    # At exit the SDK itself would wait for a collector that hangs.
    provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    global _tracer
    _tracer = provider.get_tracer("longtake")
    logger.info("traces are sent")
    _warn_of_protocol(environment)

    def stop() -> None:
        global _tracer
        _tracer = None
        last = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(LAST_SECONDS)

    return stop


def _warn_of_protocol(environment: Mapping[str, str]) -> None:
    """A collector's port for gRPC does not understand what is sent."""
    name = next((name for name in PROTOCOLS if environment.get(name)), None)
    if name is not None and environment[name].strip().lower() != PROTOCOL:
        logger.warning(
            "%s has no effect: traces are sent as %s; the endpoint must be a port for it, usually 4318", name, PROTOCOL
        )


def _nothing() -> None: ...


def is_tracing() -> bool:
    """Whether spans are recorded in this process."""
    return _tracer is not None


def current_traceparent() -> str | None:
    """The context of the current span as a W3C traceparent; None outside of one, and where traces are off."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def span(
    name: str,
    parent: str | None,
    attributes: Attributes | None = None,
    *,
    is_request: bool = False,
    not_begun: tuple[type[BaseException], ...] = (),
) -> Generator[Span | None]:
    """A span around the block, current in it. `parent`: a traceparent; without a valid one it begins a trace.
    An exception that leaves the block is named in it. `is_request`: a request that this process answers. `not_begun`:
    exceptions after which nothing was done yet; they leave no span."""
    tracer = _tracer
    if tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind

    kind = SpanKind.SERVER if is_request else SpanKind.INTERNAL
    started = tracer.start_as_current_span(
        name,
        _context(parent),
        kind,
        attributes,
        record_exception=False,
        set_status_on_exception=False,
        end_on_exit=False,
    )
    with started as current:
        try:
            yield current
        except not_begun:
            raise  # a span that never ends is never sent
        except BaseException as error:
            fail(current, type(error).__name__)
            current.end()
            raise
        current.end()


def fail(current: Span | None, reason: str) -> None:
    """The span's work failed. `reason`: a word of ours, such as the name of an exception's class."""
    if current is not None:
        from opentelemetry.trace import StatusCode

        current.set_status(StatusCode.ERROR, reason)


def record_work(name: str, parent: str | None, parts: Sequence[Interval], attributes: Attributes) -> None:
    """A span of work that is done, from the first of its `parts` to now, and one of each part in it. Nothing where the
    job has no trace."""
    tracer = _tracer
    if tracer is None or parent is None or not parts:
        return
    from opentelemetry.trace import set_span_in_context

    whole = tracer.start_span(name, _context(parent), attributes=attributes, start_time=min(p.start for p in parts))
    inside = set_span_in_context(whole)
    for part in parts:
        tracer.start_span(part.name, inside, start_time=part.start).end(part.end)
    whole.end(time.time_ns())


def _context(parent: str | None) -> Context:
    """The context of a traceparent alone; an invalid one is as none."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent} if parent else {}, Context())
