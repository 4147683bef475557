"""The page at `/` in headless Chromium: its weight, its first paint, and the CPU time of watching a job.

All processes of the browser count, in percent of one core. Without a GPU the browser decodes and paints in software,
which says more about the machine than about the page: so the time of the page's main thread, its scripts, styles and
layout, is told apart. The service runs on the same cores.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from api.http.web_files import web_files
from benchmarks.figures import Figure
from benchmarks.jobs import PROMPT, run_job
from client import Longtake

MOST_BYTES = 250_000
MOST_PAINT_SECONDS = 0.5
MOST_PERCENT = 5.0
SECONDS = 20.0
FRAMES = 240
"""Of the job that is watched when it is made: 30 s, so that it plays all the time."""
LONG_FRAMES = 960
"""Of the one that is watched while it is made."""
_ARGUMENTS = ("--no-sandbox", "--autoplay-policy=no-user-gesture-required")  # Chromium's sandbox does not take root
_PAINT = "performance.getEntriesByType('paint').find(({name}) => name === 'first-paint')?.startTime ?? null"


@dataclass(frozen=True)
class Cost:
    """CPU time of `SECONDS` of watching, in percent of one core. `processes`: by Chromium's types of them."""

    processes: Mapping[str, float]
    main_thread: float

    @property
    def whole(self) -> float:
        return sum(self.processes.values())

    @property
    def note(self) -> str:
        parts = (f"{kind} {percent:.1f} %" for kind, percent in sorted(self.processes.items()))
        return f"of one core, all processes of Chromium: {', '.join(parts)}"


def measure(client: Longtake, base_url: str, *, runs: int, say: Callable[[str], None]) -> list[Figure]:
    """Without Chromium on this machine its figures are not measured."""
    figures = [_weight()]
    with _chromium() as browser:
        figures.append(_first_paint(browser, base_url, runs, say))
        say(f"a job of {FRAMES} frames, to be watched when it is made")
        _, ended = run_job(client, FRAMES, seed=1)
        figures += _cost_figures("a finished job", _watched(browser, base_url, ended.job.id, say))
        running = client.jobs.create(prompt=PROMPT, num_frames=LONG_FRAMES, seed=2)
        figures += _cost_figures("a running job", _watched(browser, base_url, running.id, say))
        running.cancel()
    return figures


def _weight() -> Figure:
    size = sum(len(file.data) for file in web_files().values())
    return Figure(
        "weight of the page", round(size / 1000, 1), "kB", target=MOST_BYTES / 1000, note="nothing compressed"
    )


@contextmanager
def _chromium() -> Generator[Browser | None]:
    path = shutil.which("chromium")
    if path is None:
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def _first_paint(browser: Browser | None, base_url: str, runs: int, say: Callable[[str], None]) -> Figure:
    """From the beginning of the navigation, with nothing kept from before."""
    name, note = "first paint on loopback", "PerformancePaintTiming; median of new contexts"
    if browser is None:
        return Figure(name, None, "s", target=MOST_PAINT_SECONDS, note=note)
    paints: list[float] = []
    for run in range(runs):
        with _page(browser) as page:
            page.goto(base_url)
            page.locator(".make").wait_for()
            paints.append(round(float(page.evaluate(_PAINT)) / 1000, 3))
            say(f"first paint, {run + 1} of {runs}: {paints[-1]:.3f} s")
    return Figure(name, statistics.median(paints), "s", target=MOST_PAINT_SECONDS, samples=paints, note=note)


def _watched(browser: Browser | None, base_url: str, job_id: str, say: Callable[[str], None]) -> Cost | None:
    if browser is None:
        return None
    with _page(browser) as page:
        page.goto(f"{base_url.rstrip('/')}/#/jobs/{job_id}")
        page.locator("video.screen").wait_for()
        while not page.evaluate("document.querySelector('video.screen').currentTime > 0"):
            time.sleep(0.2)
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")

        def main_thread() -> float:
            metrics = session.send("Performance.getMetrics")["metrics"]
            return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))

        before, tasks, began = _cpu_seconds(), main_thread(), time.perf_counter()
        page.wait_for_timeout(1000 * SECONDS)
        passed = time.perf_counter() - began
        used = {kind: 100 * (seconds - before.get(kind, 0)) / passed for kind, seconds in _cpu_seconds().items()}
        cost = Cost(used, 100 * (main_thread() - tasks) / passed)
        say(f"watching costs {cost.whole:.1f} %, the main thread {cost.main_thread:.1f} %")
        return cost


@contextmanager
def _page(browser: Browser) -> Generator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        yield context.new_page()
    finally:
        context.close()


def _cpu_seconds() -> dict[str, float]:
    """CPU time of this process' Chromium so far, by type of process."""
    found: dict[str, float] = defaultdict(float)
    for process in psutil.Process().children(recursive=True):
        try:
            command, times = " ".join(process.cmdline()).split(), process.cpu_times()  # Chromium writes it as one text
        except psutil.Error:  # it ended
            continue
        if command and "chrom" in command[0]:
            kind = next((each.partition("=")[2] for each in command if each.startswith("--type=")), "browser")
            found[kind] += times.user + times.system
    return found


def _cost_figures(what: str, cost: Cost | None) -> list[Figure]:
    name, main = f"CPU of watching {what}", f"main thread of the page while watching {what}"
    if cost is None:
        return [Figure(name, None, "%", target=MOST_PERCENT), Figure(main, None, "%", target=MOST_PERCENT)]
    return [
        Figure(name, round(cost.whole, 1), "%", target=MOST_PERCENT, note=cost.note),
        Figure(
            main, round(cost.main_thread, 1), "%", target=MOST_PERCENT, note="TaskDuration of the DevTools protocol"
        ),
    ]
