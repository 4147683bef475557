"""Costs before any job: start time and memory of the API, and the size of the shipped weights."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from benchmarks.figures import Figure
from cli.processes.child import Child
from cli.processes.machine import free_port
from cli.processes.stack import settings_environment
from core.service.settings import SHIPPED_PRESETS_DIR, Settings

REQUESTS_BEFORE_MEMORY = 50
START_LIMIT_SECONDS = 60.0


def measure(settings: Settings, log_dir: Path, *, runs: int, say: Callable[[str], None]) -> list[Figure]:
    """Start the API `runs` times beside the running servers of `settings`."""
    starts: list[float] = []
    memories: list[float] = []
    libraries: set[str] = set()
    for run in range(runs):
        say(f"starting the API, {run + 1} of {runs}")
        seconds, rss, mapped = start_api_once(settings, log_dir / "api-benchmark.log")
        starts.append(round(seconds, 3))
        memories.append(round(rss / 1e6, 1))
        libraries |= mapped
    torch_files = sum("torch" in library for library in libraries)
    return [
        Figure("API ready", round(statistics.median(starts), 3), "s", target=2, samples=starts),
        Figure("API memory (RSS)", round(max(memories), 1), "MB", target=150, samples=memories),
        Figure("torch libraries in the API process", torch_files, "files", target=0),
        weights_figure(),
    ]


def start_api_once(settings: Settings, log: Path) -> tuple[float, int, set[str]]:
    """Seconds from the start of the process until it is ready, its memory in bytes, and the files it has mapped."""
    port = free_port()
    serve = ["api.server", "--port", str(port)]
    started = time.perf_counter()
    child = Child("API", [sys.executable, "-m", *serve], {**os.environ, **settings_environment(settings)}, log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            seconds = wait_for_answer(http, child, started)
            for path in ("/openapi.json", "/models", "/jobs", "/readyz") * (REQUESTS_BEFORE_MEMORY // 4):
                http.get(path)
        process = psutil.Process(child.pid)
        return seconds, process.memory_info().rss, {mapping.path for mapping in process.memory_maps()}
    finally:
        child.ask_to_stop()
        child.wait_stopped(10)


def wait_for_answer(http: httpx.Client, child: Child, started: float) -> float:
    while True:
        child.check()
        try:
            if http.get("/readyz").is_success:
                return time.perf_counter() - started
        except httpx.TransportError:
            pass
        assert time.perf_counter() - started < START_LIMIT_SECONDS, "the API does not answer"
        time.sleep(0.005)


def weights_figure() -> Figure:
    """Bytes of all weight files that a checkout contains."""
    sizes = [file.stat().st_size for file in SHIPPED_PRESETS_DIR.rglob("*.safetensors")]
    return Figure("weights in the checkout", round(sum(sizes) / 1e6, 2), "MB", target=40, note=f"{len(sizes)} files")
