"""Counts steps over the windows of a chunk."""

from core.service.domain.engine import OnStep


def count_over_windows(on_step: OnStep, window: int, num_windows: int) -> OnStep:
    """A callback for one window that counts the steps of all windows of a chunk, which have as many steps each."""

    def count(step: int, steps: int) -> None:
        on_step(window * steps + step, num_windows * steps)

    return count
