"""A simulated viewer of a video that is still being made: what had to be there when, and where playback stalled.

The viewer's clock is the service's own (core.service.domain.playback), by which its scheduler and its metric of stalls
go. The viewer begins `buffer_seconds` after the first chunk is there: seconds of waiting, not of video. Rebuffering: a
viewer who has seen all there is waits until the next chunk is there as a whole, and goes on at once; players that fill
their buffer again first stall less often and longer. Nothing of the network between service and viewer is in it.

What is measured is what peers measure of video that is made while it is watched (deadlines met, and a simulated viewer
with a start buffer: vllm-project/vllm-omni#7645), and what quality models of streaming take as input (initial loading
delay and stalling events: ITU-T P.1203, 2017). It is no score of quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from core.service.domain.playback import Playback

LEAST_SECONDS = 1e-6
"""Shorter waits are none: the resolution of the times."""


@dataclass(frozen=True)
class Stall:
    """A wait in the middle of the video. Not the one for the first chunk, which is the initial loading delay."""

    at: float
    """When it began, on the clock of the chunks' times, in seconds."""
    seconds: float
    """How long it was, > 0."""
    position: float
    """Where: seconds of video that were seen until then."""


@dataclass(frozen=True)
class Viewing:
    """What a viewer saw of at least one chunk."""

    begins_at: float
    """When the first frame was shown: the time of the first chunk and `buffer_seconds`."""
    ends_at: float
    """When the last frame was seen that is there."""
    stalls: Sequence[Stall]
    """Those that are over: of a chunk that never came there is none."""

    @property
    def stalled_seconds(self) -> float:
        """Of all stalls together, seconds, >= 0. Equal to max(0, `smallest_buffer` - `buffer_seconds`)."""
        return sum((stall.seconds for stall in self.stalls), 0.0)

    @property
    def longest_seconds(self) -> float:
        """Of the longest stall, seconds; 0 without any."""
        return max((stall.seconds for stall in self.stalls), default=0.0)


def watch(there_at: Sequence[float], seconds: Sequence[float], buffer_seconds: float = 0.0) -> Viewing:
    """`there_at`: when each chunk was there, in order, at least one, seconds on any clock. `seconds`: how long each
    plays. `buffer_seconds`: >= 0."""
    begins_at = there_at[0] + buffer_seconds
    clock, _ = Playback.beginning_at(0).after(0, begins_at, seconds[0])
    stalls, position = list[Stall](), seconds[0]
    for index, (at, plays) in enumerate(zip(there_at[1:], seconds[1:], strict=True), 1):
        clock, stalled = clock.after(index, at, plays)
        if stalled >= LEAST_SECONDS:
            stalls.append(Stall(at - stalled, stalled, position))
        position += plays
    assert clock.ends_at is not None
    return Viewing(begins_at, clock.ends_at, stalls)


def lateness(there_at: Sequence[float], seconds: Sequence[float]) -> list[float]:
    """Of each chunk after the first: how many seconds after its deadline it was there; below 0: so much before it.

    The deadline of chunk k is t_0 + d_0 + ... + d_(k-1): when a viewer needs it who began with the first chunk, at t_0,
    and never had to wait; d are `seconds`. So a chunk can miss its deadline without a stall, if a stall before it has
    made the viewer late; and one stall can make many chunks miss theirs."""
    deadlines = accumulate(seconds[:-1], initial=there_at[0])
    return [at - deadline for at, deadline in zip(there_at, deadlines, strict=True)][1:]


def deadlines_met(late: Sequence[float], buffer_seconds: float = 0.0) -> int:
    """How many of the chunks of `lateness` were there in time for a viewer who began `buffer_seconds` later."""
    return sum(seconds - buffer_seconds < LEAST_SECONDS for seconds in late)


def smallest_buffer(late: Sequence[float]) -> float:
    """The smallest `buffer_seconds` without any stall: max(0, the largest of `lateness`), seconds."""
    return max(0.0, *late) if late else 0.0
