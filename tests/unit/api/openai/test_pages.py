"""After which video a page begins: only after one that the caller may see."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from api.access.caller import EVERYBODY, Caller
from api.openai.pages import cursor_after, place_of
from core.service.domain.api_keys import ApiKey, Scope, digest_of
from core.service.domain.errors import InvalidField
from core.service.testing.clock import FAKE_START
from tests.helpers.api_world import World, submit


def caller_of(key_id: str) -> Caller:
    digest = digest_of(key_id)
    return Caller(
        ApiKey(
            id=key_id,
            name=key_id,
            scope=Scope.JOBS,
            text_sha256=digest,
            webhook_secret="whsec_a",
            created_at=FAKE_START,
        )
    )


def test_a_video_of_another_key_is_as_one_that_does_not_exist(api: TestClient, world: World) -> None:
    job_id = submit(api)
    of_key = caller_of("a")
    with pytest.raises(InvalidField) as others:
        cursor_after(world.store, of_key, job_id)
    with pytest.raises(InvalidField) as none:
        cursor_after(world.store, of_key, "job_none")
    assert others.value.message.replace(job_id, "job_none") == none.value.message
    place = place_of(world.store.get(job_id))
    assert cursor_after(world.store, EVERYBODY, job_id) == cursor_after(world.store, of_key, place)
