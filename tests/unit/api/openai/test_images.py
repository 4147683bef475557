"""Images that come with a request: stored once it has its claim, deleted if no job can use them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import StoreUnavailable
from core.service.domain.schema import JobRecord
from core.service.domain.uploads import UPLOADS_PREFIX
from core.service.settings import Settings
from core.service.testing.job_store import FakeJobStore
from tests.helpers.api_world import PROMPT, World
from tests.helpers.presets import write_fake_preset

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
FORM: dict[str, Any] = {"prompt": (None, PROMPT), "input_reference": ("a.png", PNG)}
KEY = {"Idempotency-Key": "one"}


class UnluckyStore(FakeJobStore):
    """`create` stores the job and then fails; or another request has stored it, with an image of its own."""

    def __init__(self, world: World) -> None:
        super().__init__(world.clock)
        self.answers, self.is_first = True, True

    def create(self, record: JobRecord, limits: KeyLimits | None = None) -> JobRecord:
        if not self.is_first:
            spec = record.spec.model_copy(update={"image": "upl_" + "a" * 20})
            super().create(record.model_copy(update={"spec": spec}))
        created = super().create(record, limits)
        if not self.answers:
            raise StoreUnavailable
        return created


@pytest.fixture
def world(tmp_path: Path) -> World:
    write_fake_preset(tmp_path, "pictures", accepts_image=True)
    write_fake_preset(tmp_path, "texts")
    return World(Settings(presets_dir=tmp_path, default_model="pictures"))


@pytest.fixture
def unlucky(world: World) -> UnluckyStore:
    world.store = store = UnluckyStore(world)
    return store


@pytest.fixture
def api(world: World) -> Iterator[TestClient]:
    with world.client() as client:
        yield client


def test_the_image_counts_as_an_upload(api: TestClient) -> None:
    assert api.post("/v1/videos", files=FORM).status_code == 200
    told = api.get("/metrics").text.splitlines()
    assert 'longtake_uploads_total{kind="image"} 1.0' in told
    assert f'longtake_upload_bytes_total{{kind="image"}} {float(len(PNG))}' in told


def images(world: World) -> list[str]:
    return [key for key in world.storage.objects if key.startswith(UPLOADS_PREFIX)]


def test_the_image_of_a_job_that_may_exist_is_kept(unlucky: UnluckyStore, api: TestClient, world: World) -> None:
    unlucky.answers = False
    assert api.post("/v1/videos", files=FORM).status_code == 503
    (record,) = world.store.list().jobs
    assert record.spec.image
    assert world.uploads.get(record.spec.image).size_bytes == len(PNG)
    assert len(images(world)) == 1


def test_the_image_of_a_job_that_another_request_has_created_is_not_kept(
    unlucky: UnluckyStore, api: TestClient, world: World
) -> None:
    unlucky.is_first = False
    assert api.post("/v1/videos", files=FORM).status_code == 200
    assert not world.uploads.count()


def test_a_replay_needs_no_room_for_an_upload_and_writes_nothing(world: World) -> None:
    with world.client(world.settings.model_copy(update={"max_uploads_per_client": 1})) as api:
        first = api.post("/v1/videos", files=FORM, headers=KEY)
        stored = images(world)
        again = api.post("/v1/videos", files=FORM, headers=KEY)
        assert (again.status_code, again.json()) == (200, first.json())
        assert images(world) == stored
        other = {**FORM, "prompt": (None, "another")}
        assert api.post("/v1/videos", files=other, headers=KEY).json()["error"]["code"] == "idempotency_key_reused"
        assert api.post("/v1/videos", files=FORM).json()["error"]["code"] == "too_many_uploads"


def test_a_refused_image_leaves_its_key_free(world: World) -> None:
    with world.client(world.settings.model_copy(update={"max_uploads_per_client": 0})) as api:
        assert api.post("/v1/videos", files=FORM, headers=KEY).json()["error"]["code"] == "too_many_uploads"
        assert api.post("/v1/videos", files={"prompt": (None, PROMPT)}, headers=KEY).status_code == 200


def test_an_image_that_cannot_be_deleted_hides_no_refusal(
    api: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(world.uploads, "discard", fail)
    answer = api.post("/v1/videos", files={**FORM, "model": (None, "texts")})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "field_not_supported")
    assert world.uploads.count() == 1, "until it expires"
