"""How fast chunks are made now: counted in buckets of ten seconds, of which the newest are kept. Pure.

Each commit adds its chunks to the bucket of its time, by the store's clock, in the same transaction. So what the pools
have made lately is counted, not estimated, and reading it costs a few small hashes whatever there is to do.
"""

from __future__ import annotations

BUCKET_SECONDS = 10
WHOLE_BUCKETS = 6
"""Buckets that are read beside the one that is being filled."""
KEPT_SECONDS = (WHOLE_BUCKETS + 2) * BUCKET_SECONDS
"""How long a bucket is kept after its last commit."""


def bucket_of(at: float) -> int:
    """The bucket of a moment in seconds since 1970."""
    return int(at // BUCKET_SECONDS)


def newest_buckets(now: float) -> range:
    """The buckets that are read at this moment."""
    newest = bucket_of(now)
    return range(newest - WHOLE_BUCKETS, newest + 1)


def window_seconds(now: float) -> float:
    """Seconds that these cover so far: 60 to 70."""
    return now - newest_buckets(now).start * BUCKET_SECONDS
