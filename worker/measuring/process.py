"""The program that measures the videos of one job. Knows no job, no store and no network.

Run as `python -m worker.measuring.process`. Input: a MeasureRequest as JSON on stdin. It writes how many frames are
done to the file `progress`, and its outcome to the file `result`. It runs at low priority: nobody waits for it.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.metrics.video.all_metrics import cheap_metrics
from core.metrics.video.facts import FACTS
from core.metrics.video.flow import DIS, dis_flow
from core.metrics.video.frames import VideoFile
from core.metrics.video.metric import Curve, VideoMetrics, measure
from core.metrics.video.seams import Borders
from core.processes import end_with_parent
from core.service.domain.engine import FrameHWC
from core.service.domain.errors import LongtakeError
from core.service.domain.schema import MeasuredVideo, MetricCurve, MetricValue
from core.service.video.decode import VideoUnreadable
from worker.measuring.request import MeasureRequest
from worker.runtime.limits import limit_memory, set_limit

BYTES_PER_CORE = 100_000_000
"""Of address space: OpenCV and FFmpeg have a thread for each, with a stack and a heap that are hardly used."""


def main() -> int:
    if sys.platform == "linux":
        end_with_parent(by=signal.SIGKILL)
    request = MeasureRequest.model_validate_json(sys.stdin.buffer.read())
    with suppress(OSError):
        os.nice(request.niceness)
    set_limit(resource.RLIMIT_CORE, 0)
    limit_memory(request.memory_bytes + BYTES_PER_CORE * (os.cpu_count() or 1))
    request.result.write_text(json.dumps(_outcome(request)))
    return 0


def _outcome(request: MeasureRequest) -> dict[str, Any]:
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        request.progress.write_text(str(done))

    try:
        measured = {
            variant: _measured(file, request, request.num_frames.get(variant), count)
            for variant, file in request.videos.items()
        }
    except LongtakeError as error:
        return {"unreadable": error.message}
    except MemoryError:
        return {"unreadable": f"Measuring the video takes more than {request.memory_bytes // 1_000_000} MB of memory."}
    return {"videos": {variant: video.model_dump(mode="json") for variant, video in measured.items()}}


def _measured(file: Path, request: MeasureRequest, num_frames: int | None, count: Callable[[], None]) -> MeasuredVideo:
    """Raises LongtakeError if the file is no video, or lacks frames: those that it says it has, or `num_frames`."""
    flow = DIS if dis_flow() is not None else None
    borders = None if request.windows is None else Borders(request.windows.first, request.windows.later)
    with VideoFile(file) as video:
        measured = as_stored(measure(_counted(video, count), cheap_metrics(request.fps, borders=borders), flow))
        whole = video.num_frames + video.missing_frames if num_frames is None else num_frames
        if video.num_frames != whole:
            raise VideoUnreadable(f"The video has {video.num_frames} of its {whole} frames.")
        return measured


def _counted(frames: Iterable[FrameHWC], count: Callable[[], None]) -> Iterator[FrameHWC]:
    for frame in frames:
        yield frame
        count()


def as_stored(metrics: VideoMetrics) -> MeasuredVideo:
    """The metrics with the facts of each value. What is not finite is None: JSON has no such numbers."""
    return MeasuredVideo(
        num_frames=metrics.num_frames,
        flow=metrics.flow,
        values={name: _value(name, value) for name, value in metrics.values.items()},
        curves={name: _curve(curve) for name, curve in metrics.curves.items()},
        notes=tuple(metrics.notes),
    )


def _value(name: str, value: float | None) -> MetricValue:
    fact = FACTS[name]
    return MetricValue(
        value=_finite(value),
        title=fact.title,
        meaning=fact.meaning,
        better="lower" if fact.better == "lower" else "higher" if fact.better == "higher" else None,
        source=fact.source,
        decimals=0 if isinstance(value, int) else fact.decimals,  # those of the fact are for means, of counts too
    )


def _curve(curve: Curve) -> MetricCurve:
    return MetricCurve(step=curve.step, values=tuple(_finite(value) for value in curve.values), first=curve.first)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


if __name__ == "__main__":
    sys.exit(main())
