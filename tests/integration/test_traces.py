"""Traces of real processes: one trace of a whole job, no secret in it, and nothing waits for a collector that hangs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from core.service.tracing import ENDPOINTS
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import running_service
from tests.helpers.trace_collector import Collector, attributes_of, collecting, never_answering
from tests.helpers.webhook_receiver import receiving_webhooks

TRACE, CLIENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def traced_environment(patch: pytest.MonkeyPatch, url: str) -> None:
    patch.setenv(ENDPOINTS[1], url)
    patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")


def test_one_trace_goes_from_the_request_to_the_webhook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    presets = tmp_path / "presets"
    write_fake_preset(presets, "refinable", refiner=True)
    with collecting() as collector, receiving_webhooks() as receiver:
        traced_environment(monkeypatch, collector.url)
        with running_service(tmp_path, presets) as service:
            service.start_workers("refinable")
            body = {
                "model": "refinable",
                "prompt": "words-secret",
                "num_frames": 32,
                "refine": True,
                "webhook_url": f"{receiver.url}?key=query-secret",
            }
            with_password = f"{receiver.url}?key=query-secret".replace("http://", "http://user:pass-secret@")
            assert service.http.post("/jobs", json={**body, "webhook_url": with_password}).status_code == 422
            headers = {"traceparent": f"00-{TRACE}-{CLIENT}-01", "Authorization": "Bearer lt_key-secret"}
            answer = service.http.post("/jobs?", json=body, headers=headers)
            assert answer.status_code == 202, answer.text
            service.http.get(f"/jobs/{answer.json()['id']}?token=token-secret")
            attempt = eventually(receiver.first, "the webhook")
            eventually(lambda: collector.named("webhook"), "the last span", seconds=60)
            eventually(lambda: collector.named("finalize"), "the span of the video", seconds=60)
        check_trace(collector, answer.json()["id"], attempt.headers)


def check_trace(collector: Collector, job_id: str, sent: Mapping[str, str]) -> None:
    assert b"secret" not in collector.raw
    ours = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    (request,) = [span for span in ours if span.name == "POST /jobs"]
    assert request.parent_span_id.hex() == CLIENT
    of_job = [span for span in ours if span.parent_span_id == request.span_id]
    names = sorted(span.name for span in of_job)
    assert names.count("generate chunk") == 2
    assert {"refine piece", "finalize", "webhook"} <= set(names)
    assert {attributes_of(span)["longtake.job"] for span in of_job} == {job_id}
    chunks = [span for span in of_job if span.name == "generate chunk"]
    assert [attributes_of(span)["longtake.piece"] for span in chunks] == [0, 1]
    for chunk in chunks:
        phases = {span.name for span in ours if span.parent_span_id == chunk.span_id}
        assert {"engine", "encode", "upload", "commit"} <= phases
    (first, *_) = chunks
    assert {"queue", "load"} <= {span.name for span in ours if span.parent_span_id == first.span_id}
    (webhook,) = [span for span in of_job if span.name == "webhook"]
    lower = {name.lower(): value for name, value in sent.items()}
    assert lower["traceparent"] == f"00-{TRACE}-{webhook.span_id.hex()}-01"
    assert set(collector.services) == {"longtake-api", "longtake-worker"}


def test_a_collector_that_never_answers_holds_up_no_job_and_no_exit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    presets = tmp_path / "presets"
    write_fake_preset(presets, "fake")
    with never_answering() as url:
        traced_environment(monkeypatch, url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600")
        with running_service(tmp_path, presets) as service:
            service.start_workers("fake")
            job = service.submit(num_frames=48)
            service.wait_for_success(job.id)
            service.stop()  # a process that outlives its grace is killed
            logs = "".join(path.read_text() for path in service.folder.glob("*.log"))
            assert logs.count("stopped with code 0") == 2, "both workers"
            assert "Finished server process" in logs


def test_without_an_endpoint_nothing_of_the_sdks_traces_is_imported() -> None:
    """redis-py imports the SDK's metrics wherever it is installed."""
    code = (
        "import sys, json, api.app, worker.process\n"
        "from core.service import tracing\n"
        "tracing.set_up_traces('x')()\n"
        "with tracing.span('a', None) as span: pass\n"
        "tracing.record_work('a', None, [], {})\n"
        "traces = ('opentelemetry.sdk.trace', 'opentelemetry.exporter')\n"
        "loaded = [name for name in sys.modules if name.startswith(traces)]\n"
        "print(json.dumps([loaded, span, tracing.current_traceparent()]))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(told) == [[], None, None]
