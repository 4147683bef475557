"""What other versions leave in Redis and the object store: a real dump, and rows changed as a newer one might."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, cast

import redis

from core.service.redis import keys
from core.service.testing.storage import FakeStorage

VERSION_0_1_0 = Path(__file__).resolve().parents[1] / "integration" / "versions" / "0_1_0.json"
"""All keys and objects of version 0.1.0 with `job_a`, one chunk of three made, and `job_b`, which waits."""
FUTURE = {"from_the_future": {"kept": [1, 2]}}
"""A field that this version does not have."""


def load_redis(dump: Path, client: redis.Redis) -> None:
    """Write the keys of a dump as they were."""
    for key, entry in json.loads(dump.read_text())["redis"].items():
        value = entry["value"]
        if entry["type"] == "hash":
            client.hset(key, mapping=value)
        elif entry["type"] == "zset":
            client.zadd(key, value)
        elif entry["type"] == "stream":
            for event_id, fields in value:
                client.xadd(key, fields, id=event_id)
        else:
            raise AssertionError(f"{key} is a {entry['type']}")


def load_objects(dump: Path, storage: FakeStorage) -> None:
    for key, text in json.loads(dump.read_text())["objects"].items():
        storage.put(key, base64.b64decode(text), "application/octet-stream")


def row(client: redis.Redis, job_id: str) -> dict[str, Any]:
    """A job's record as it lies in Redis."""
    return json.loads(cast("str", client.hget(keys.job_key(job_id), "record")))


def as_an_older_version_wrote_it(client: redis.Redis, job_id: str, **changes: Any) -> None:
    """A row with its chunks inside, and without the fields that this version reads beside it."""
    change_row(client, job_id, **{"chunks": [], "refined": [], **changes})
    client.hdel(keys.job_key(job_id), "digest", "place")


def change_row(client: redis.Redis, job_id: str, **changes: Any) -> None:
    """As another version would have written it."""
    record = row(client, job_id) | changes
    client.hset(keys.job_key(job_id), mapping={"record": json.dumps(record), "revision": record["revision"]})
