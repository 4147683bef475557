"""OpenAI's own package, unchanged, against /v1."""

# pyright: reportDeprecated=false
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from fastapi.testclient import TestClient
from openai import OpenAI

from core.service.domain.uploads import upload_key
from core.service.settings import Settings
from tests.helpers.api_world import BASE_URL, PROMPT, World
from tests.helpers.presets import write_fake_preset

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")  # OpenAI's own service has ended


@pytest.fixture
def world(tmp_path: Path) -> World:
    write_fake_preset(tmp_path, "fake", refiner=True)
    write_fake_preset(tmp_path, "pictures", accepts_image=True)
    return World(Settings(presets_dir=tmp_path, default_model="fake", media="proxy"))


@pytest.fixture
def client(world: World) -> Iterator[OpenAI]:
    with world.client() as api:
        yield client_of(api)


def client_of(api: TestClient) -> OpenAI:
    return OpenAI(base_url=f"{BASE_URL}/v1", api_key="any", http_client=api, max_retries=0)  # pyright: ignore[reportArgumentType]


def test_create_retrieve_and_delete(client: OpenAI) -> None:
    video = client.videos.create(prompt=PROMPT, model="fake", seconds="4")
    assert (video.status, video.progress, video.seconds, video.size) == ("queued", 0, "4", "64x64")
    assert client.videos.retrieve(video.id) == video
    assert client.videos.delete(video.id).deleted
    with pytest.raises(openai.NotFoundError) as gone:
        client.videos.retrieve(video.id)
    assert gone.value.code == "job_not_found"


def test_an_image_may_be_a_file_bytes_or_a_url(client: OpenAI, world: World, tmp_path: Path) -> None:
    (tmp_path / "first.png").write_bytes(PNG)
    for reference in (tmp_path / "first.png", PNG, ("any", PNG, "image/png")):
        video = client.videos.create(prompt=PROMPT, model="pictures", input_reference=reference)
        image = world.store.get(video.id).spec.image
        assert image
        assert world.storage.get(upload_key(image)) == PNG
    url = "https://example.com/a.png"
    more = {"input_reference": {"image_url": url}}  # the argument takes files only
    video = client.videos.create(prompt=PROMPT, model="pictures", extra_body=more)
    assert world.store.get(video.id).spec.image == url


def test_a_list_is_read_page_by_page_while_its_videos_are_deleted(client: OpenAI, world: World) -> None:
    made = list[str]()
    for _ in range(5):
        made.insert(0, client.videos.create(prompt=PROMPT).id)
        world.clock.advance(1)
    assert [video.id for video in client.videos.list(limit=2, order="desc")] == made
    assert [video.id for video in client.videos.list(limit=2, order="asc")] == made[::-1]
    for video in client.videos.list(limit=2):
        client.videos.delete(video.id)
    assert client.videos.list().data == []


def test_poll_returns_an_ended_video_whose_content_can_be_downloaded(client: OpenAI, world: World) -> None:
    video = client.videos.create(prompt=PROMPT, seconds="4")
    world.finish(video.id)
    record = world.store.get(video.id)
    assert record.video_key
    assert record.thumbnail_key
    world.storage.put(record.video_key, b"the video", "video/mp4")
    world.storage.put(record.thumbnail_key, b"the picture", "image/jpeg")
    assert client.videos.poll(video.id).status == "completed"
    assert client.videos.download_content(video.id).read() == b"the video"
    assert client.videos.download_content(video.id, variant="thumbnail").read() == b"the picture"


def test_a_remix_names_its_source(client: OpenAI) -> None:
    video = client.videos.create(prompt=PROMPT)
    assert client.videos.remix(video.id, prompt="a blue circle").remixed_from_video_id == video.id


def test_refusals_are_the_packages_own_errors(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.videos.create(prompt=PROMPT, size="1280x720")
    assert (refused.value.code, refused.value.param) == ("invalid_field", "size")
    assert "give one of 64x64" in refused.value.message
    with pytest.raises(openai.BadRequestError, match="no field quality"):
        client.videos.create(prompt=PROMPT, extra_body={"quality": "high"})


def test_models_are_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["fake", "pictures"]
    assert client.models.retrieve("fake").id == "fake"
