"""What a worker process tells Prometheus: each event is counted once, and no label comes from a client."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import pytest
from prometheus_client import generate_latest

from cli.processes.machine import free_port
from core.service.domain.errors import StorageFull, StoreUnavailable
from core.service.domain.frame_rate import seconds_of
from core.service.settings import Settings
from tests.helpers.background import AtOnce
from tests.helpers.fake_world import JOB, MODEL, World
from tests.helpers.jobs import refine_spec
from tests.helpers.metrics import GENERATED, REFINED, rise_of, value_of
from tests.helpers.webhook_office import Office, Receiver, running
from worker.metrics import REGISTRY, serve_metrics
from worker.runtime.server_retry import with_retries


def test_a_whole_job_is_counted(world: World) -> None:
    chunks, frames = rise_of("longtake_chunks_total", **GENERATED), rise_of("longtake_frames_total", **GENERATED)
    steps, ended = (
        rise_of("longtake_steps_total", **GENERATED),
        rise_of("longtake_jobs_ended_total", lane="finalize", status="succeeded"),
    )
    factors = rise_of("longtake_chunk_realtime_factor_count", **GENERATED)
    resumes = rise_of("longtake_resumes_total", model=MODEL)
    world.submit(num_frames=40)
    world.work(world.maker())
    assert (chunks(), frames(), steps(), ended(), factors(), resumes()) == (3, 40, 12, 1, 3, 0)


def test_the_phases_of_a_chunk_are_ours_and_those_of_the_engine_together(world: World) -> None:
    names = ("queue", "load", "engine", "encode", "upload", "commit")
    counts = [rise_of("longtake_chunk_phase_seconds_count", **GENERATED, phase=phase) for phase in names]
    sums = [rise_of("longtake_chunk_phase_seconds_sum", **GENERATED, phase=phase) for phase in names]
    world.submit(num_frames=16)
    world.maker().work()
    assert [count() for count in counts] == [1] * len(names)
    (chunk,) = world.chunks()
    assert "denoise" in chunk.timings
    assert sum(rise() for rise in sums) == pytest.approx(sum(chunk.timings.values()))
    assert value_of("longtake_chunk_phase_seconds_count", **GENERATED, phase="denoise") == 0


def test_what_ran_beside_the_next_chunk_is_no_work_on_a_chunk(world: World) -> None:
    factors = rise_of("longtake_chunk_realtime_factor_sum", **GENERATED)
    encodes = rise_of("longtake_chunk_phase_seconds_count", **GENERATED, phase="encode")
    world.submit(num_frames=40)
    world.work(world.maker(ahead=AtOnce))
    fps, expected = world.store.get(JOB).spec.fps, 0.0
    *early, last = world.chunks()
    for chunk in (*early, last):
        assert min(chunk.timings["encode"], chunk.timings["upload"]) > 0
        left_out = {"queue"} if chunk is last else {"queue", "encode", "upload"}
        work = sum(seconds for phase, seconds in chunk.timings.items() if phase not in left_out)
        expected += seconds_of(chunk.num_frames, fps) / work
    assert factors() == pytest.approx(expected)
    assert encodes() == 3


def test_refined_chunks_are_counted_by_their_lane(world: World) -> None:
    chunks, steps = rise_of("longtake_chunks_total", **REFINED), rise_of("longtake_steps_total", **REFINED)
    world.submit(num_frames=32, refine=refine_spec())
    world.work(world.maker())
    assert chunks() == len(world.refined()) == 2
    assert steps() > 0


def test_all_bytes_that_are_put_are_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put, sizes = world.storage.put, list[int]()

    def counted_put(key: str, data: bytes, content_type: str) -> None:
        put(key, data, content_type)
        sizes.append(0 if "manifest" in key or "/pages/" in key else len(data))

    world.submit(num_frames=40)
    monkeypatch.setattr(world.storage, "put", counted_put)
    stored = rise_of("longtake_stored_bytes_total")
    world.work(world.maker())
    assert stored() == sum(sizes) > 0


@pytest.mark.parametrize(("error", "server"), [(StoreUnavailable, "redis"), (StorageFull, "storage")])
def test_repeated_calls_of_servers_are_counted(error: type[Exception], server: str) -> None:
    retries, failures = rise_of("longtake_server_retries_total", server=server), [error("away"), error("away")]

    def call() -> None:
        if failures:
            raise failures.pop()

    with_retries(call, lambda _seconds, _reason: None)
    assert retries() == 2


@pytest.mark.parametrize(("status", "outcome"), [(204, "delivered"), (500, "pending"), (410, "disabled")])
def test_attempts_of_webhooks_are_counted_by_their_outcome(world: World, status: int, outcome: str) -> None:
    attempts = rise_of("longtake_webhook_attempts_total", outcome=outcome)
    durations = rise_of("longtake_webhook_attempt_duration_seconds_count")
    with running(Receiver(status=status)) as receiver:
        office = Office(world, receiver.port)
        office.chunk_done()
        assert office.sender.deliver_due() == 1
    assert (attempts(), durations()) == (1, 1)


def test_no_label_comes_from_a_client(world: World) -> None:
    world.submit("job_secret", prompt="a secret prompt", webhook_url="https://example.com/secret")
    world.work(world.maker())
    assert b"secret" not in generate_latest(REGISTRY)


class FakeCuda:
    """What is read of torch.cuda."""

    def __init__(self, *, used: bool) -> None:
        self._used = used

    def is_initialized(self) -> bool:
        return self._used

    def memory_allocated(self) -> int:
        return 3

    def memory_reserved(self) -> int:
        return 5

    def get_device_properties(self, _device: int) -> SimpleNamespace:
        return SimpleNamespace(total_memory=7)


def test_memory_of_the_gpu_is_told_where_cuda_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "longtake_gpu_memory_bytes"
    # Undone inside the test: a torch that is still there when it ends counts as imported (`--torch-free`).
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", SimpleNamespace(cuda=FakeCuda(used=True)))
        assert [value_of(name, kind=kind) for kind in ("allocated", "reserved", "total")] == [3, 5, 7]
        patch.setitem(sys.modules, "torch", SimpleNamespace(cuda=FakeCuda(used=False)))
        assert REGISTRY.get_sample_value(name, {"kind": "total"}) is None
        patch.setitem(sys.modules, "torch", SimpleNamespace())
        assert REGISTRY.get_sample_value(name, {"kind": "total"}) is None, "torch is being imported"


@contextmanager
def served(settings: Settings, number: int = 0) -> Generator[None]:
    stop = serve_metrics(settings, number)
    try:
        yield
    finally:
        stop()


def test_each_process_of_a_supervisor_serves_on_a_port_of_its_own() -> None:
    port = free_port()
    with served(Settings(worker_metrics_port=port - 1), number=1):
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    assert "longtake_chunks_total" in answer.text
    assert "process_cpu_seconds_total" in answer.text
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)


def test_without_a_port_nothing_listens(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with served(Settings(), number=3):
        assert caplog.messages == []


@pytest.mark.parametrize("number", [0, 70_000])
def test_a_port_that_cannot_be_used_is_named_with_its_setting_and_the_work_goes_on(
    caplog: pytest.LogCaptureFixture, number: int
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with served(Settings(worker_metrics_port=port), number):
            (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert f"port {port + number} of 127.0.0.1" in record.getMessage()
    assert "set LONGTAKE_WORKER_METRICS_PORT to" in record.getMessage()


@pytest.mark.parametrize("host", ["a..b", "192.0.2.1"])
def test_a_host_that_cannot_be_used_is_named_with_its_setting_and_the_work_goes_on(
    caplog: pytest.LogCaptureFixture, host: str
) -> None:
    with served(Settings(worker_metrics_port=free_port(), worker_metrics_host=host)):
        (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert f" of {host}: " in record.getMessage()
    assert "LONGTAKE_WORKER_METRICS_HOST to" in record.getMessage()
