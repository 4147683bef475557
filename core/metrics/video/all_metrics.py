"""All metrics of this package for one video.

Signatures (work in progress, this list is replaced by the code):
frames.py      VideoFile(path | bytes): context manager; .fps, .num_frames (as it goes), .varies, .rotation; iterate for
               frames uint8 HWC. Raises VideoUnreadable. resize_as_published(frame, size=720) -> frame
flow.py        DisFlow(): Flow, name "dis"; dis_flow() -> DisFlow | None (None without OpenCV)
warp.py        forward_warp(frame, flow) -> Warped(frame, holes); pair_error(second, warped) -> float; MAWE_CONSTANT = 9.5
warp_error.py  WarpError(flow: Flow | None, size: int | None = 720, borders: Borders | None = None, workers: int = 1)
cuts.py        HardCuts(fps)
seams.py       Borders(first: int, step: int)   frames where a chunk begins: first, first + step, ...
drift.py       Drift()
trend.py       Trend: quarters and slopes in constant memory
values() may be asked at any time and is of the frames so far, so values of prefixes need no second pass.
"""

from __future__ import annotations

from core.metrics.video.metric import Metric


def cheap_metrics(fps: float, size: int = 720) -> list[Metric]:
    """Cuts, warp error, seams and drift, with the flow `dis`. Keywords later: borders: Borders | None, workers: int."""
    del fps, size
    return []
