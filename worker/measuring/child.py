"""Runs the program that measures: started, watched, and killed when its caller stops waiting.

A process of its own, because OpenCV may crash, keeps several cores busy for minutes, and shares nothing with the work
of the CPU worker that somebody waits for.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from pydantic import TypeAdapter

from core.service.domain.errors import VideoUnmeasurable
from core.service.domain.schema import MeasuredVideo, Variant
from worker.measuring.request import MeasureRequest
from worker.runtime.child_process import last_words, running

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "worker.measuring.process")
CHECK_SECONDS = 0.2
STALLED_SECONDS = 300.0
"""Without another frame: the start, with its imports, takes seconds, and a frame less than one."""
_VIDEOS = TypeAdapter(dict[Variant, MeasuredVideo])

Measured = Mapping[Variant, MeasuredVideo]
Measure = Callable[[MeasureRequest, Callable[[], None]], Measured]
"""Measures the videos. The second argument is called several times a second and may raise to stop. Raises
VideoUnmeasurable, MeasuringStalled, RuntimeError."""


class MeasuringStalled(Exception):
    """The process hangs, or the machine had too little CPU time for it. Can be retried."""


def measure_in_process(
    request: MeasureRequest,
    check: Callable[[], None],
    command: Sequence[str] = COMMAND,
    stalled_seconds: float = STALLED_SECONDS,
) -> Measured:
    """The Measure of the service."""
    with running(command, request.model_dump_json().encode(), stderr=request.folder / "stderr") as process:
        seen, seen_at = "", time.monotonic()
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(CHECK_SECONDS)
            check()
            done = request.progress.read_text() if request.progress.exists() else ""
            if done != seen:
                seen, seen_at = done, time.monotonic()
            elif time.monotonic() - seen_at > stalled_seconds:
                raise MeasuringStalled(f"no frame was measured within {stalled_seconds:g} s, after {seen or 'none'}")
    return _outcome(request, process)


def _outcome(request: MeasureRequest, process: subprocess.Popen[bytes]) -> Measured:
    if process.returncode != 0:
        said = last_words(request.folder / "stderr")
        logger.error("measuring ended with exit status %s: %s", process.returncode, said)
        raise RuntimeError(f"the process that measures ended with exit status {process.returncode}")
    outcome = json.loads(request.result.read_text())
    if "unreadable" in outcome:
        raise VideoUnmeasurable(outcome["unreadable"], fix="tell the operator: the final video is damaged")
    return _VIDEOS.validate_python(outcome["videos"])
