"""How much of an ablation run is left, and how long it will take: estimated from what this run has done so far."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass
class Pace:
    """Amount left of one kind of work, and the seconds that this run needed for what it did of it."""

    left: float
    done: float = 0.0
    seconds: float = 0.0

    def add(self, done: float, seconds: float) -> None:
        """Count finished work."""
        self.left = max(0.0, self.left - done)
        self.done += done
        self.seconds += seconds

    @property
    def seconds_left(self) -> float | None:
        """Estimate for the rest; None before anything of it was done."""
        if self.left == 0:
            return 0.0
        return self.left * self.seconds / self.done if self.done else None


@dataclass
class Forecast:
    """Trainings and videos left. Amounts of training are shares of a whole training."""

    trainings: Pace
    videos: Pace

    def text(self) -> str:
        """One line: what is left, and how long it will take once both kinds of work have been measured."""
        left = f"left: {self.trainings.left:.3g} trainings, {self.videos.left:.0f} videos"
        seconds = [self.trainings.seconds_left, self.videos.seconds_left]
        known = [part for part in seconds if part is not None]
        if len(known) < len(seconds):
            return f"{left}; an estimate of the time follows after the first training and its videos"
        return f"{left}: about {timedelta(seconds=round(sum(known)))}"
