"""The one place that knows how kombu keeps unacknowledged messages in Redis; a contract test holds it to that.

kombu notes each delivered message in the sorted set `unacked_index` with the time of delivery as score and redelivers
those older than the visibility timeout. Renewing the score keeps a message that is being worked on from being sent to
a second worker. Were this to stop working, the lease would still refuse the second worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import redis
from redis.exceptions import RedisError

UNACKED_INDEX = "unacked_index"


def message_keeper(broker: redis.Redis, delivery_tag: str) -> Callable[[], None]:
    """A function that makes the message look as if it had been delivered just now. It never brings one back, and a
    broker that is away is no concern of the caller's."""

    def keep() -> None:
        try:
            broker.zadd(UNACKED_INDEX, {delivery_tag: time.time()}, xx=True)
        except RedisError:
            return

    return keep
