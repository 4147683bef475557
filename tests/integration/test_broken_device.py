"""A broken device or a step without end ends the process, and the supervisor starts a new one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cli.processes.stack import settings_environment
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service
from worker.process import EXIT_DEVICE_BROKEN, EXIT_STALLED

WORKER = """
import sys
import redis.exceptions
import torch
from core.service.domain.errors import PresetError
from core.service.settings import Settings
from worker.options import read_options
from worker.process import Process

def caused_by(error, cause):
    error.__cause__ = cause
    return error

errors = [{errors}]

def load(*_):
    print("loads", flush=True)
    raise errors.pop(0)

settings = Settings()
sys.exit(Process(read_options(["--kind", "both", "--model", "fake"], settings), settings, load).run())
"""
WORKING = """
import sys
import threading
import torch
from core.service.settings import Settings
from core.service.testing.engines import FakeEngine
from worker.engines import Engines
from worker.process import Process, read_options
from worker.runtime.status import Watchdog

class Unlucky(FakeEngine):
    def next_chunk(self, spec, state, on_step, inputs):
        on_step(1, 2)
        {happens}

settings = Settings()
options = read_options(["--kind", "both", "--model", "fake"], settings)
watchdog = Watchdog(least_seconds={patience}, first_seconds={patience})
sys.exit(Process(options, settings, lambda *_: Engines("fake", Unlucky()), watchdog).run())
"""
BROKEN_DEVICE = "torch.AcceleratorError('CUDA error: an illegal memory access was encountered')"
FULL_REDIS = "redis.exceptions.OutOfMemoryError('command not allowed when used memory > maxmemory')"
LIMIT_SECONDS = 120.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Redis, S3, API and a CPU worker. Each test runs one worker, and ends the one that goes on with its job."""
    folder = tmp_path_factory.mktemp("broken")
    write_fake_preset(folder / "presets", "fake")
    service = Service(folder, folder / "presets", default_model="fake")
    try:
        service.start_servers()
        service.start_api()
        service.start_worker("cpu", wait=False)
        yield service
    finally:
        service.close()


def run_worker(service: Service, errors: str) -> subprocess.CompletedProcess[str]:
    """A worker process whose loads raise `errors`, one after the other, until it ends."""
    return run(service, WORKER.format(errors=errors))


def run(service: Service, script: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **settings_environment(service.settings), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)


def test_a_device_that_breaks_while_loading_ends_the_process_at_once(service: Service) -> None:
    ended = run_worker(service, BROKEN_DEVICE)
    assert ended.returncode == EXIT_DEVICE_BROKEN, ended.stderr
    assert ended.stdout.splitlines() == ["loads"]
    assert "the device is unusable for this process" in ended.stderr
    assert not [worker for worker in service.workers() if worker.kind != "cpu"]


def test_another_failure_is_tried_again_and_a_broken_device_is_seen_through_the_error_that_a_preset_makes_of_it(
    service: Service,
) -> None:
    broken = f"caused_by(PresetError('unet does not load', fix='retry'), {BROKEN_DEVICE})"
    ended = run_worker(service, f"{FULL_REDIS}, {broken}")
    assert ended.returncode == EXIT_DEVICE_BROKEN, ended.stderr
    assert ended.stdout.splitlines() == ["loads", "loads"]


def test_a_device_that_breaks_in_a_chunk_ends_the_process_and_leaves_the_job_to_the_next(service: Service) -> None:
    job = service.submit(num_frames=16)
    ended = run(service, WORKING.format(happens=f"raise {BROKEN_DEVICE}", patience=300.0))
    assert ended.returncode == EXIT_DEVICE_BROKEN, ended.stderr
    check_that_the_next_makes_it(service, job.id)


def test_a_step_that_never_ends_ends_the_process_and_shows_where_it_stood(service: Service) -> None:
    job = service.submit(num_frames=16)
    ended = run(service, WORKING.format(happens="threading.Event().wait()", patience=5.0))
    assert ended.returncode == EXIT_STALLED, ended.stderr
    assert "no progress for" in ended.stderr
    assert "in next_chunk" in ended.stderr
    check_that_the_next_makes_it(service, job.id)


def check_that_the_next_makes_it(service: Service, job_id: str) -> None:
    assert not service.job(job_id).status.is_terminal
    following = service.start_worker("generate", "fake")
    service.wait_for_chunks(job_id, 1)
    service.stop(following)
