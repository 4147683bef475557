"""The counted chunks of core.service.domain.rates in Redis: a hash a bucket, which expires.

The bucket is of Redis' time, unless a caller gives another `now`, as tests do: the clocks of machines may differ.
"""

from __future__ import annotations

from typing import cast

from redis.client import Pipeline
from redis.commands.core import Script

from core.service.domain.ports import Made, MadeLately
from core.service.domain.rates import window_seconds
from core.service.domain.schema import Lane
from core.service.domain.transitions import Transition, made_in
from core.service.redis.schedule import Now
from core.service.redis.transaction import COUNT_MADE, call

_LANES = {lane.value for lane in Lane}


def write(pipe: Pipeline, transition: Transition, now: Now) -> None:
    """Queue that what a commit has made is counted. Nothing for other transitions."""
    for lane, made in made_in(transition).items():
        what = f"{lane} {transition.record.spec.model}"
        call(pipe, COUNT_MADE, [], _text(now), what, made.chunks, made.frames, round(made.video_seconds * 1000))


def read(script: Script, now: Now) -> MadeLately:
    """The sums of the newest buckets. One round trip. `script`: made_scripts.READ, registered."""
    moment, *buckets = cast("tuple[str, *tuple[list[str], ...]]", tuple(script(args=[_text(now)])))
    sums = dict[tuple[Lane, str], dict[str, int]]()
    for field, value in (pair for bucket in buckets for pair in zip(bucket[::2], bucket[1::2], strict=True)):
        of_model, _, what = field.rpartition(" ")
        lane, _, model = of_model.partition(" ")
        if lane in _LANES:  # else of a newer version
            of_lane = sums.setdefault((Lane(lane), model), {})
            of_lane[what] = of_lane.get(what, 0) + int(value)
    return MadeLately(window_seconds(float(moment)), {key: _made(of_lane) for key, of_lane in sums.items()})


def _text(now: Now) -> str:
    return "" if now is None else repr(now)


def _made(sums: dict[str, int]) -> Made:
    return Made(sums.get("chunks", 0), sums.get("frames", 0), sums.get("milliseconds", 0) / 1000)
