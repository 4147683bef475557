"""A score over a video's frames, in constant memory: mean, means of its first frames, slope, curve."""

from __future__ import annotations

from collections.abc import Sequence

from core.metrics.video.curves import CurveBuilder
from core.metrics.video.metric import Curve


class RunningScore:
    """Scores of equal spans of frames, given one after another."""

    def __init__(self, frames_each: int = 1, prefixes: Sequence[int] = (), first: int = 0) -> None:
        """`frames_each`: frames that each score is of. `prefixes`: lengths in frames, multiples of it. `first`: the
        frame of the first score.
        """
        self._frames_each = frames_each
        self._prefixes: dict[int, float | None] = dict.fromkeys(prefixes)
        self._curve = CurveBuilder(first)
        self._count = 0
        self._first = 0.0
        # Sums over scores less the first one: equal scores have a slope of exactly 0.
        self._sum = self._sum_by_frame = 0.0

    def add(self, score: float) -> None:
        """The score of the next `frames_each` frames."""
        if self._count == 0:
            self._first = score
        frame = self._middle(self._count)
        self._sum += score - self._first
        self._sum_by_frame += frame * (score - self._first)
        self._count += 1
        for _ in range(self._frames_each):
            self._curve.add(score)
        frames = self._count * self._frames_each
        if frames in self._prefixes:
            self._prefixes[frames] = self.mean()

    def mean(self) -> float | None:
        """None without scores."""
        return self._first + self._sum / self._count if self._count else None

    def prefix_means(self) -> dict[int, float | None]:
        """Mean of the first frames, by their number; None where the video is shorter."""
        return dict(self._prefixes)

    def slope(self) -> float | None:
        """Change per 100 frames of the least-squares line over frames; None for fewer than two scores."""
        if self._count < 2:
            return None
        middle = (self._middle(0) + self._middle(self._count - 1)) / 2
        # The sum of squared distances of n equally spaced frames from their middle.
        spread = self._frames_each**2 * self._count * (self._count**2 - 1) / 12
        return 100 * (self._sum_by_frame - middle * self._sum) / spread

    def curve(self) -> Curve:
        return self._curve.curve()

    def _middle(self, index: int) -> float:
        """Frame in the middle of a score's span."""
        return index * self._frames_each + (self._frames_each - 1) / 2
