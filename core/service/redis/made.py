"""The counted chunks of core.service.domain.rates in Redis: a hash a bucket, which expires."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import redis
from redis.client import Pipeline

from core.service.domain.ports import Made, MadeLately
from core.service.domain.rates import KEPT_SECONDS, bucket_of, newest_buckets, window_seconds
from core.service.domain.schema import Lane
from core.service.domain.transitions import Transition, made_in
from core.service.redis import keys

_LANES = {lane.value for lane in Lane}


def write(pipe: Pipeline, transition: Transition, now: float) -> None:
    """Queue that what a commit has made is counted: three or four commands. Nothing for other transitions."""
    for lane, made in made_in(transition).items():
        bucket, what = keys.made_key(bucket_of(now)), f"{lane} {transition.record.spec.model}"
        pipe.hincrby(bucket, f"{what} chunks", made.chunks)
        pipe.hincrby(bucket, f"{what} frames", made.frames)
        pipe.hincrby(bucket, f"{what} milliseconds", round(made.video_seconds * 1000))
        pipe.expire(bucket, KEPT_SECONDS)


def read(client: redis.Redis, now: float) -> MadeLately:
    """The sums of the newest buckets. One round trip."""
    with client.pipeline(transaction=False) as pipe:
        for bucket in newest_buckets(now):
            pipe.hgetall(keys.made_key(bucket))
        buckets = cast("Sequence[dict[str, str]]", pipe.execute())
    sums = dict[tuple[Lane, str], dict[str, int]]()
    for field, value in (pair for bucket in buckets for pair in bucket.items()):
        of_model, _, what = field.rpartition(" ")
        lane, _, model = of_model.partition(" ")
        if lane in _LANES:  # else of a newer version
            of_lane = sums.setdefault((Lane(lane), model), {})
            of_lane[what] = of_lane.get(what, 0) + int(value)
    return MadeLately(window_seconds(now), {key: _made(of_lane) for key, of_lane in sums.items()})


def _made(sums: dict[str, int]) -> Made:
    return Made(sums.get("chunks", 0), sums.get("frames", 0), sums.get("milliseconds", 0) / 1000)
