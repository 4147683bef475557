"""A job without an end, to 3,000 frames on the fake engine: memory of every process, size and time of every answer.

The whole service runs, as processes. Growth is that of a straight line through all marks, from 300 frames to 3,000: one
mark alone would say more about the machine's other work than about the job's length. Times are told against those of
another job without an end, which was left at 300 frames, asked in turn: so the machine's other work slows both. They
are the first tenth of all, which that work changes least.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.figures import Figure
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.redis.client import connect
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service

MARKS = tuple(range(300, 3001, 300))
"""Frames after which everything is measured."""
REQUESTS = 60
"""Of each kind and job, at each mark."""
MOST_GROWTH = 10.0
"""Percent."""
STEPS, STEP_SECONDS = 4, 0.2
PAGE = 16


@dataclass
class Series:
    """One quantity at every mark."""

    unit: str
    frames: list[int] = field(default_factory=list[int])
    """Of the job, as it was measured: it goes on meanwhile."""
    values: list[float] = field(default_factory=list[float])

    def growth(self) -> float:
        """Percent, along a straight line through all marks."""
        slope, start = statistics.linear_regression(self.frames, self.values)
        first, last = (start + slope * mark for mark in (MARKS[0], MARKS[-1]))
        return 100 * (last / first - 1)


class Measured:
    """All quantities by name, in the order in which they came."""

    def __init__(self) -> None:
        self._series: dict[str, Series] = {}
        self.frames = 0

    def add(self, name: str, value: float, unit: str) -> None:
        series = self._series.setdefault(name, Series(unit))
        series.frames.append(self.frames)
        series.values.append(round(value, 3))

    def figures(self) -> list[Figure]:
        return [figure for name, series in self._series.items() for figure in _figures(name, series)]


def _figures(name: str, series: Series) -> list[Figure]:
    grown = Figure(f"{name}: growth to {MARKS[-1]}", round(series.growth(), 1), "%", target=MOST_GROWTH)
    note = f"at {', '.join(map(str, series.frames))} frames"
    return [Figure(name, series.values[0], series.unit, samples=series.values, note=note), grown]


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Run the job to the last mark, then cancel it and wait for its final video."""
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as name:
        presets = Path(name) / "presets"
        for model in ("fake", "left"):
            write_fake_preset(presets, model, steps=STEPS, step_seconds=STEP_SECONDS)
        with running_service(Path(name), presets, default_model="fake", media="proxy") as service:
            return _measured(service, say)


def _measured(service: Service, say: Callable[[str], None]) -> list[Figure]:
    processes = {
        "the API": service.children()[0].pid,
        "the generation worker": service.start_worker("both").pid,
        "the CPU worker": service.start_worker("cpu").pid,
    }
    http, found = service.http, Measured()
    say("another job, to be left at its first mark")
    left = _left_job(service)
    job_id = _new_job(http, "fake")
    _wait(http, job_id, MARKS[0] // 2)
    _measure_answers(http, job_id, left, Measured())  # what is loaded and cached once
    for mark in MARKS:
        found.frames = _wait(http, job_id, mark)
        say(f"{found.frames} frames")
        _measure_answers(http, job_id, left, found)
        for part, pid in processes.items():
            found.add(f"memory of {part} (RSS)", _megabytes(pid), "MB")
        with connect(service.settings.redis_url) as client:
            used: dict[str, Any] = client.info("memory")
        found.add("memory of Redis (used_memory)", used["used_memory"] / 1e6, "MB")
    return [*found.figures(), *_end(http, job_id, say)]


def _new_job(http: httpx.Client, model: str) -> str:
    body = {"prompt": "a red circle moving left", "num_frames": None, "seed": 1, "model": model}
    return str(http.post("/jobs", json=body).raise_for_status().json()["id"])


def _left_job(service: Service) -> str:
    """A job without an end that stays at the first mark, since its worker is gone."""
    worker = service.start_worker("both", "left")
    job_id = _new_job(service.http, "left")
    _wait(service.http, job_id, MARKS[0])
    service.stop(worker)
    return job_id


def _wait(http: httpx.Client, job_id: str, num_frames: int) -> int:
    """Until the job has so many frames; returns how many it has."""
    while (done := int(_progress(http, job_id)["frames_done"])) < num_frames:
        time.sleep(0.1)
    return done


def _progress(http: httpx.Client, job_id: str) -> dict[str, Any]:
    return http.get(f"/jobs/{job_id}").raise_for_status().json()["progress"]


def _measure_answers(http: httpx.Client, job_id: str, left: str, found: Measured) -> None:
    """All kinds of both jobs in turn, so that a busy moment of the machine concerns all of them."""
    newest = _progress(http, job_id)["chunks_done"] - 1
    requests = {job: _requests(http, job) for job in (job_id, left)}
    seconds: dict[str, dict[str, list[float]]] = {job: {} for job in requests}
    sizes = dict[str, int]()
    for _ in range(REQUESTS):
        for job, kinds in requests.items():
            for name, request in kinds.items():
                started = time.perf_counter()
                answer = http.send(request)
                if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE.value:
                    continue  # the machine is busy with something else
                seconds[job].setdefault(name, []).append(time.perf_counter() - started)
                assert answer.is_success, answer.text
                if job == job_id:
                    sizes[name] = max(len(answer.content), sizes.get(name, 0))
    for name, size in sizes.items():
        of_both = [statistics.quantiles(seconds[job][name], n=10)[0] for job in requests]
        found.add(f"{name}, size", size, "bytes")
        found.add(f"{name}, time against that of {MARKS[0]} frames", of_both[0] / of_both[1], "x")
    found.add("commit of a chunk", 1000 * statistics.median(_commits(http, job_id, newest)), "ms")


def _requests(http: httpx.Client, job_id: str) -> dict[str, httpx.Request]:
    """Every kind of request about a job, about its end where there is a choice."""
    newest = _progress(http, job_id)["chunks_done"] - 1
    path, page = f"/jobs/{job_id}", {"after": max(-1, newest - PAGE), "limit": PAGE}
    return {
        "GET /jobs/{id}": http.build_request("GET", path),
        "GET /jobs": http.build_request("GET", "/jobs"),
        f"GET the newest {PAGE} chunks": http.build_request("GET", f"{path}/chunks", params=page),
        "GET playlist.m3u8": http.build_request("GET", f"{path}/playlist.m3u8"),
        "GET the newest chunk": http.build_request("GET", f"{path}/chunks/{newest}.mp4"),
        "GET thumbnail.jpg": http.build_request("GET", f"{path}/thumbnail.jpg"),
        "PATCH metadata": http.build_request("PATCH", path, json={"metadata": {"seen": f"{newest:06d}"}}),
    }


def _commits(http: httpx.Client, job_id: str, newest: int) -> Sequence[float]:
    """Seconds of the last commits, as the worker measured them."""
    params = {"after": max(-1, newest - PAGE), "limit": PAGE}
    chunks = http.get(f"/jobs/{job_id}/chunks", params=params).json()["chunks"]
    return [chunk["timings"]["commit"] for chunk in chunks]


def _megabytes(pid: int) -> float:
    """Of a process and its children."""
    process = psutil.Process(pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) / 1e6


def _end(http: httpx.Client, job_id: str, say: Callable[[str], None]) -> list[Figure]:
    """Cancelling gives a whole video."""
    say("canceling the job")
    http.post(f"/jobs/{job_id}/cancel").raise_for_status()
    started = time.perf_counter()
    while (job := http.get(f"/jobs/{job_id}").json())["status"] != "canceled":
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    video = http.get(f"/jobs/{job_id}/video.mp4").raise_for_status().content
    frames = job["progress"]["frames_done"]
    assert frames % CHUNK_FRAMES == 0, frames
    return [
        Figure("from cancel to the whole video", round(seconds, 2), "s", note=f"{frames} frames"),
        Figure("size of the whole video", round(len(video) / 1e6, 2), "MB"),
    ]
