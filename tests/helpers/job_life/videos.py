"""What a job makes to which nothing happens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from core.service.domain.manifest import refined_video_key, video_key
from core.service.domain.schema import JobStatus
from tests.helpers.fake_world import World
from tests.helpers.job_life.engines import FaultyEngine
from tests.helpers.job_life.jobs import REQUESTS, Kind
from tests.helpers.job_life.objects import put_picture


@dataclass(frozen=True)
class BaselineVideos:
    """Bytes of a job to which nothing happens."""

    chunks: tuple[bytes, ...]
    refined: tuple[bytes, ...]
    video: bytes
    refined_video: bytes | None


@cache
def baseline(kind: Kind, seed: int) -> BaselineVideos:
    world = World()
    put_picture(world.storage)
    spec = world.submit("job_baseline", **REQUESTS[kind], seed=seed).spec
    world.work(world.maker(FaultyEngine()))
    record, objects = world.store.get("job_baseline"), world.storage.objects
    assert record.status is JobStatus.SUCCEEDED, record
    return BaselineVideos(
        tuple(objects[chunk.key] for chunk in world.chunks(record.id)),
        tuple(objects[chunk.key] for chunk in world.refined(record.id)),
        objects[video_key(record.id)],
        objects[refined_video_key(record.id)] if spec.refine else None,
    )
