"""What a transition adds to the counted chunks (core.service.domain.rates)."""

from __future__ import annotations

from collections.abc import Mapping

from core.service.domain.frame_rate import seconds_of
from core.service.domain.ports import Made
from core.service.domain.schema import Lane
from core.service.domain.transitions.transition import Transition


def made_in(transition: Transition) -> Mapping[Lane, Made]:
    """The chunks that a worker has made and that are committed now, by the lane that made them. Copies of a branch and
    records that are rebuilt are no commits."""
    made = dict[Lane, Made]()
    for write in transition.chunks if transition.is_commit else ():
        lane = Lane.GENERATE if write.variant == "preview" else Lane.REFINE
        frames = write.chunk.num_frames
        made[lane] = made.get(lane, Made()) + Made(1, frames, seconds_of(frames, transition.record.spec.fps))
    return made
