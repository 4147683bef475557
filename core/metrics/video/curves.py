"""A curve of bounded size over a video of any length."""

from __future__ import annotations

from core.metrics.video.metric import Curve

MOST_POINTS = 512


class CurveBuilder:
    """Means over equal steps of frames. The step doubles whenever there are more than MOST_POINTS points."""

    def __init__(self, first: int = 0) -> None:
        """`first`: the frame of the first value."""
        self._first = first
        self._step = 1
        self._points: list[float] = []
        self._sum, self._count = 0.0, 0

    def add(self, value: float) -> None:
        self._sum += value
        self._count += 1
        if self._count < self._step:
            return
        self._points.append(self._sum / self._count)
        self._sum, self._count = 0.0, 0
        if len(self._points) > MOST_POINTS and len(self._points) % 2 == 0:
            self._points = [(a + b) / 2 for a, b in zip(self._points[::2], self._points[1::2], strict=True)]
            self._step *= 2

    def curve(self) -> Curve:
        """A last step that is not full counts as a point."""
        last = [self._sum / self._count] if self._count else []
        return Curve(self._step, [*self._points, *last], self._first)
