"""/v1 where the service has keys: OpenAI's package sends one as its api_key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# pyright: reportDeprecated=false
import openai
import pytest
from fastapi.testclient import TestClient
from openai import OpenAI

from core.service.domain.api_keys import KeyLimits, Scope
from core.service.settings import Settings
from tests.helpers.api_world import BASE_URL, PROMPT, World
from tests.helpers.customers import customer, with_keys
from tests.helpers.presets import write_fake_preset

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")  # OpenAI's own service has ended


@pytest.fixture
def world(tmp_path: Path) -> World:
    write_fake_preset(tmp_path, "pictures", accepts_image=True)
    return World(with_keys(Settings(presets_dir=tmp_path, default_model="pictures")))


@pytest.fixture
def api(world: World) -> Iterator[TestClient]:
    with world.client() as client:
        yield client


def client_of(api: TestClient, key: str) -> OpenAI:
    return OpenAI(base_url=f"{BASE_URL}/v1", api_key=key, http_client=api, max_retries=0)  # pyright: ignore[reportArgumentType]


def test_each_key_sees_its_own_videos(api: TestClient, world: World) -> None:
    one, other = (client_of(api, customer(world.keys).text) for _ in range(2))
    video = one.videos.create(prompt=PROMPT)
    assert [found.id for found in one.videos.list()] == [video.id]
    assert other.videos.list().data == []
    with pytest.raises(openai.NotFoundError):
        other.videos.retrieve(video.id)
    with pytest.raises(openai.BadRequestError, match="there is no video"):
        other.videos.list(after=video.id)


def test_an_image_belongs_to_the_key_and_counts_for_its_stored_bytes(api: TestClient, world: World) -> None:
    key = customer(world.keys)
    client = client_of(api, key.text)
    image = world.store.get(client.videos.create(prompt=PROMPT, input_reference=PNG).id).spec.image
    assert image
    assert world.uploads.get(image).owner == key.id
    limits = KeyLimits(stored_bytes=len(PNG))
    world.keys.change(key.id, lambda stored: stored.model_copy(update={"limits": limits}))
    world.clock.advance(2)
    with pytest.raises(openai.RateLimitError) as refused:
        client.videos.create(prompt=PROMPT, input_reference=PNG)
    assert refused.value.code == "limit_reached"
    assert world.uploads.count() == 1


def test_a_wrong_key_and_a_missing_scope_are_the_packages_own_errors(api: TestClient, world: World) -> None:
    with pytest.raises(openai.AuthenticationError) as wrong:
        client_of(api, "sk-any").models.list()
    assert wrong.value.code == "key_refused"
    with pytest.raises(openai.PermissionDeniedError) as reader:
        client_of(api, customer(world.keys, Scope.READ).text).videos.create(prompt=PROMPT)
    assert reader.value.code == "scope_missing"
