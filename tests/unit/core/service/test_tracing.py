"""Spans end with the work that they are of, and name errors by their class."""

from __future__ import annotations

import pytest
from opentelemetry.trace import StatusCode

from core.service.tracing import current_traceparent, set_up_traces, span
from tests.helpers.spans import PARENT, TRACE, recording_spans


def test_a_span_is_of_its_parent_s_trace_and_current_in_its_block() -> None:
    with recording_spans() as spans:
        with span("work", PARENT, {"longtake.job": "job_a"}):
            inside = current_traceparent()
        assert current_traceparent() is None
    (told,) = spans.all()
    assert told.context is not None
    assert inside == f"00-{TRACE}-{told.context.span_id:016x}-01"
    assert (told.name, dict(told.attributes or {}), told.status.status_code) == (
        "work",
        {"longtake.job": "job_a"},
        StatusCode.UNSET,
    )


@pytest.mark.parametrize("error", [RuntimeError("https://u:secret@h/?k=secret"), KeyboardInterrupt("secret")])
def test_an_error_is_named_by_its_class_alone(error: BaseException) -> None:
    with recording_spans() as spans, pytest.raises(type(error)), span("work", PARENT):
        raise error
    (told,) = spans.all()
    assert (told.status.status_code, told.status.description) == (StatusCode.ERROR, type(error).__name__)
    assert "secret" not in told.to_json()


def test_what_did_not_begin_leaves_no_span() -> None:
    with recording_spans() as spans:
        with pytest.raises(KeyError), span("work", PARENT, not_begun=(KeyError,)):
            raise KeyError
        assert current_traceparent() is None
    assert spans.all() == ()


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, None),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL has no effect"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL has no effect"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, None),
    ],
)
def test_a_protocol_that_there_is_not_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variables: dict[str, str], told: str | None
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    set_up_traces("longtake-test")()
    warnings = [record.getMessage() for record in caplog.records if record.name == "core.service.tracing"]
    assert [text for text in warnings if "has no effect" in text] == [
        text for text in warnings if told is not None and text.startswith(told)
    ]
    assert any("has no effect" in text for text in warnings) is (told is not None)
