"""GET /jobs/{id}/thumbnail.jpg: a picture from the first chunk on, and one link for it."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from core.service.domain.manifest import chunk_key, thumbnail_key
from core.service.testing.storage import FakeStorage
from core.service.video.contact_sheet import thumbnail
from core.service.video.decode import decode_frames
from core.service.video.segments import encode_chunk
from tests.helpers.api_world import World, submit


class CountingStorage(FakeStorage):
    """Notes which objects are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read = list[str]()

    def get(self, key: str) -> bytes:
        self.read.append(key)
        return super().get(key)


def chunk_bytes(grey: int) -> bytes:
    frames_THWC = np.full((16, 32, 64, 3), grey, np.uint8)
    return encode_chunk(frames_THWC, Fraction(8), 0, 0).data


def job_with_a_chunk(api: TestClient, world: World, num_frames: int = 48) -> str:
    job_id = submit(api, num_frames=num_frames)
    world.make_chunk(job_id)
    world.storage.put(chunk_key(job_id, 0), chunk_bytes(200), "video/mp4")
    return job_id


def test_the_picture_is_there_with_the_first_chunk_and_made_once(world: World) -> None:
    world.storage = storage = CountingStorage()
    with world.client() as api:
        job_id = job_with_a_chunk(api, world)
        link = api.get(f"/jobs/{job_id}").json()["links"]["thumbnail"]
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(api.get, [link] * 8))
    assert {(answer.status_code, answer.headers["content-type"]) for answer in answers} == {(200, "image/jpeg")}
    assert Image.open(io.BytesIO(answers[0].content)).size == (512, 256)
    assert storage.read == [chunk_key(job_id, 0)]


def test_it_is_the_picture_that_the_end_stores_under_the_same_etag(api: TestClient, world: World) -> None:
    job_id = job_with_a_chunk(api, world, num_frames=16)
    link = f"/jobs/{job_id}/thumbnail.jpg"
    early = api.get(link)
    stored = thumbnail(decode_frames(world.storage.objects[chunk_key(job_id, 0)]))
    world.storage.put(thumbnail_key(job_id), stored, "image/jpeg")
    world.finish(job_id)
    with world.client(world.settings.model_copy(update={"media": "proxy"})) as proxy:
        late = proxy.get(link)
        assert (late.content, late.headers["content-type"]) == (early.content, "image/jpeg")
        assert late.headers["etag"] == early.headers["etag"]
        assert proxy.get(link, headers={"If-None-Match": early.headers["etag"]}).status_code == 304
        assert proxy.get(link, headers={"Range": "bytes=0-9"}).content == stored[:10]
        assert int(proxy.head(link).headers["content-length"]) == len(stored)
    assert thumbnail_key(job_id) in api.get(link).headers["location"]


def test_an_unchanged_picture_of_a_running_job_is_not_sent_again(api: TestClient, world: World) -> None:
    link = f"/jobs/{job_with_a_chunk(api, world)}/thumbnail.jpg"
    etag = api.get(link).headers["etag"]
    assert api.get(link, headers={"If-None-Match": etag}).status_code == 304
    assert api.head(link).headers["etag"] == etag


def test_before_the_first_chunk_it_is_not_ready(api: TestClient) -> None:
    answer = api.get(f"/jobs/{submit(api)}/thumbnail.jpg")
    assert (answer.status_code, answer.json()["code"]) == (404, "thumbnail_not_ready")
    assert answer.headers["retry-after"]


def test_a_job_that_ended_without_a_chunk_never_has_one(api: TestClient) -> None:
    job_id = submit(api)
    api.post(f"/jobs/{job_id}/cancel")
    assert api.get(f"/jobs/{job_id}/thumbnail.jpg").json()["code"] == "job_state_conflict"


@pytest.mark.parametrize("stored", [None, b"no video"])
def test_a_chunk_that_cannot_be_read_is_503(api: TestClient, world: World, stored: bytes | None) -> None:
    job_id = submit(api)
    world.make_chunk(job_id)
    if stored is not None:
        world.storage.put(chunk_key(job_id, 0), stored, "video/mp4")
    assert api.get(f"/jobs/{job_id}/thumbnail.jpg").status_code == 503


def test_pages_of_any_origin_may_show_it(api: TestClient, world: World) -> None:
    answer = api.get(f"/jobs/{job_with_a_chunk(api, world)}/thumbnail.jpg", headers={"Origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_job_has_one_picture_so_no_variant_is_asked_for(api: TestClient) -> None:
    def parameters(path: str) -> set[str]:
        document = api.get("/openapi.json").json()
        return {each["name"] for each in document["paths"][f"/jobs/{{job_id}}/{path}"]["get"]["parameters"]}

    assert parameters("thumbnail.jpg") == {"job_id", "redirect", "token"}
    assert parameters("video.mp4") == {"job_id", "redirect", "token", "variant"}
