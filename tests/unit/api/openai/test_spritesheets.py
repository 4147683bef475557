"""The spritesheet of a video: frames of all of it, made once."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from core.service.domain.manifest import chunk_key
from core.service.testing.storage import FakeStorage
from core.service.video.segments import encode_chunk
from tests.helpers.api_world import World, submit


class CountingStorage(FakeStorage):
    """Counts reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def get(self, key: str) -> bytes:
        self.reads += 1
        return super().get(key)


def ended(api: TestClient, world: World, num_chunks: int) -> str:
    """A job whose chunk k is grey of level 10k."""
    job_id = submit(api, num_frames=16 * num_chunks)
    world.finish(job_id)
    for index in range(num_chunks):
        frames_THWC = np.full((16, 32, 64, 3), 10 * index, np.uint8)
        world.storage.put(chunk_key(job_id, index), encode_chunk(frames_THWC, Fraction(8), index, 0).data, "video/mp4")
    return job_id


@pytest.mark.parametrize("num_chunks", [1, 3, 20])
def test_sixteen_frames_of_the_whole_video_are_in_order(api: TestClient, world: World, num_chunks: int) -> None:
    video_id = ended(api, world, num_chunks)
    answer = api.get(f"/v1/videos/{video_id}/content", params={"variant": "spritesheet"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    sheet = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert sheet.shape == (4 * 128, 4 * 256, 3)
    seen = [sheet[row * 128 + 64, column * 256 + 128].mean() for row in range(4) for column in range(4)]
    wanted = [10 * (number * num_chunks // 16) for number in range(16)]
    assert np.abs(np.array(seen) - wanted).max() < 5


def test_a_sheet_is_made_once_and_known_by_its_etag(world: World) -> None:
    world.storage = storage = CountingStorage()
    with world.client() as api:
        path = f"/v1/videos/{ended(api, world, 2)}/content?variant=spritesheet"
        first, second = api.get(path), api.get(path)
        reads = storage.reads
        unchanged = api.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert first.content == second.content
    assert (unchanged.status_code, storage.reads, reads) == (304, reads, 16)


def test_there_is_none_before_the_video_is_complete_and_none_of_damaged_chunks(api: TestClient, world: World) -> None:
    path = "/v1/videos/{}/content?variant=spritesheet"
    early = api.get(path.format(submit(api)))
    assert (early.status_code, early.json()["error"]["code"]) == (404, "video_not_ready")
    job_id = ended(api, world, 1)
    world.storage.put(chunk_key(job_id, 0), b"no video", "video/mp4")
    damaged = api.get(path.format(job_id))
    assert (damaged.status_code, damaged.json()["error"]["code"]) == (503, "object_damaged")
