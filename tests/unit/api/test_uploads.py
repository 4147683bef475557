"""POST /uploads, and jobs that use uploads."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from core.service.domain.manifest import input_key
from core.service.domain.schema import JobWarning, Lane, PreparedMedia
from core.service.domain.uploads import client_mark, upload_key
from tests.helpers.api_world import BASE_URL, PROMPT, World
from tests.helpers.presets import copy_sprites, write_fake_preset

MP4 = {"content_type": "video/mp4", "size_bytes": 1000}


def upload(api: TestClient, world: World, content_type: str = "video/mp4") -> str:
    """Id of an upload that was declared and sent."""
    answer = api.post("/uploads", json={"content_type": content_type, "size_bytes": 3})
    assert answer.status_code == 201, answer.text
    world.storage.put(upload_key(answer.json()["id"]), b"abc", content_type)
    return str(answer.json()["id"])


def refusal(api: TestClient, **fields: Any) -> tuple[int, str, str]:
    """Status, code and field of a refused job."""
    answer = api.post("/jobs", json={"prompt": PROMPT, **fields})
    return answer.status_code, answer.json()["code"], answer.json()["field"]


def test_the_answer_says_where_and_how_to_send_the_file(api: TestClient, world: World) -> None:
    answer = api.post("/uploads", json=MP4)
    target = answer.json()
    assert (answer.status_code, target["method"]) == (201, "PUT")
    assert target["headers"] == {"content-type": "video/mp4", "content-length": "1000"}
    assert urlsplit(target["url"]).path == f"/uploads/{target['id']}"
    assert parse_qs(urlsplit(target["url"]).query)["content-length"] == ["1000"]
    assert answer.headers["cache-control"] == "no-store"
    assert world.uploads.get(target["id"]).size_bytes == 1000


@pytest.mark.parametrize(
    "declared",
    ["video/webm;codecs=vp8,opus", "VIDEO/MP4", "image/jpg", "video/x-matroska;codecs=avc1,opus", "video/x-m4v"],
)
def test_types_are_taken_as_browsers_call_them_and_the_answer_says_to_send_just_that(
    api: TestClient, declared: str
) -> None:
    answer = api.post("/uploads", json={"content_type": declared, "size_bytes": 3})
    assert answer.status_code == 201, answer.text
    assert answer.json()["headers"] == {"content-type": declared, "content-length": "3"}
    assert parse_qs(urlsplit(answer.json()["url"]).query)["content-type"] == [declared]


def test_a_file_of_unknown_type_may_be_uploaded(api: TestClient, world: World) -> None:
    video = upload(api, world, "application/octet-stream")
    assert api.post("/jobs", json={"prompt": PROMPT, "video": video}).status_code == 202


def test_the_answer_has_expiry_times_and_limits(api: TestClient, world: World) -> None:
    target = api.post("/uploads", json=MP4).json()
    now = world.clock.now()
    assert datetime.fromisoformat(target["expires_at"]) == now + timedelta(seconds=world.settings.upload_ttl_seconds)
    usable = now + timedelta(seconds=world.settings.upload_retention_seconds)
    assert datetime.fromisoformat(target["usable_until"]) == usable
    assert target["limits"]["image"]["content_types"] == ["image/png", "image/jpeg", "image/webp"]
    assert target["limits"]["video"]["max_bytes"] == world.settings.max_video_bytes
    assert target["limits"]["video"]["min_frames"] == 16


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"content_type": "image/gif", "size_bytes": 1}, "invalid_field", "content_type"),
        ({"content_type": "video/mp4\r\nx-amz-acl: public-read", "size_bytes": 1}, "invalid_field", "content_type"),
        ({"content_type": "image/png", "size_bytes": 0}, "invalid_field", "size_bytes"),
        ({"content_type": "image/png", "size_bytes": "7"}, "invalid_field", "size_bytes"),
        ({"content_type": "image/png"}, "invalid_field", "size_bytes"),
        ({"content_type": "image/png", "size_bytes": 20_000_001}, "upload_too_large", "size_bytes"),
        ({"content_type": "video/mp4", "size_bytes": 500_000_001}, "upload_too_large", "size_bytes"),
        ({"content_type": "image/png", "size_bytes": 1, "name": "a.png"}, "unknown_field", "name"),
    ],
)
def test_what_cannot_be_uploaded_is_refused(api: TestClient, body: dict[str, Any], code: str, field: str) -> None:
    answer = api.post("/uploads", json=body)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, code, field)


def test_when_too_many_are_kept_no_more_are_taken(world: World) -> None:
    with world.client(world.settings.model_copy(update={"max_uploads": 1})) as api:
        assert api.post("/uploads", json=MP4).status_code == 201
        answer = api.post("/uploads", json=MP4)
    assert (answer.status_code, answer.json()["code"]) == (503, "service_full")
    assert int(answer.headers["retry-after"]) > 0


def test_a_thousand_empty_uploads_of_one_client_leave_room_for_others(world: World) -> None:
    with world.client() as api:
        flood = [api.post("/uploads", json=MP4) for _ in range(1000)]
        refused = flood[-1]
        assert sum(answer.status_code == 201 for answer in flood) == world.settings.max_uploads_per_client
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_uploads")
        assert "retry-after" not in refused.headers, "places come free after hours, or by its own hand"
        assert all(way in refused.json()["fix"] for way in ("DELETE /uploads/{id}", "wait", "`expires_at`"))
        assert api.delete(f"/uploads/{flood[0].json()['id']}").status_code == 204
        assert api.post("/uploads", json=MP4).status_code == 201, "it may make room itself"
    app = create_app(world.settings, world.ports())
    with TestClient(app, base_url=BASE_URL, client=("198.51.100.7", 1)) as other:
        assert other.post("/uploads", json=MP4).status_code == 201


def test_no_address_of_a_client_is_kept(api: TestClient, world: World) -> None:
    upload_id = api.post("/uploads", json=MP4).json()["id"]
    assert "testclient" not in world.uploads.get(upload_id).model_dump_json()
    mark = partial(client_mark, key=b"one")
    assert mark("2001:db8::1") == mark("2001:db8::ffff") != mark("2001:db8:0:1::1")
    assert mark("198.51.100.7") == mark("::ffff:198.51.100.7") != mark("198.51.100.8")
    assert mark("198.51.100.7") != client_mark("198.51.100.7", b"another")


def test_an_upload_shows_whether_its_file_has_arrived(api: TestClient, world: World) -> None:
    target = api.post("/uploads", json={"content_type": "video/mp4", "size_bytes": 3}).json()
    before = api.get(f"/uploads/{target['id']}").json()
    world.storage.put(upload_key(target["id"]), b"abc", "video/mp4")
    after = api.get(f"/uploads/{target['id']}").json()
    assert (before["received"], after["received"]) == (False, True)
    assert {name: after[name] for name in ("id", "expires_at", "usable_until")}.items() <= target.items()


def test_a_deleted_upload_is_none_any_more(api: TestClient, world: World) -> None:
    video = upload(api, world)
    answer = api.delete(f"/uploads/{video}")
    assert (answer.status_code, answer.content) == (204, b"")
    for again in (api.delete(f"/uploads/{video}"), api.get(f"/uploads/{video}"), api.get("/uploads/upl_x")):
        assert (again.status_code, again.json()["code"]) == (404, "upload_unknown")
    assert refusal(api, video=video) == (422, "upload_not_found", "video")
    assert [message.task for message in world.queue.messages] == ["longtake.janitor"]


def test_a_job_that_names_an_upload_before_it_is_deleted_keeps_it(api: TestClient, world: World) -> None:
    video = upload(api, world)
    job_id = api.post("/jobs", json={"prompt": PROMPT, "video": video}).json()["id"]
    assert api.delete(f"/uploads/{video}").status_code == 204
    assert world.storage.exists(upload_key(video)), "the janitor removes it when no job waits for it"
    assert api.get(f"/jobs/{job_id}").json()["status"] == "queued"


def test_a_job_shows_that_its_input_media_is_being_prepared(api: TestClient, world: World) -> None:
    job = api.post("/jobs", json={"prompt": PROMPT, "video": upload(api, world)}).json()
    assert (job["progress"]["preparing"], job["progress"]["queue_position"]) == (True, 1)
    assert [message.task for message in world.queue.messages] == ["longtake.prepare_media"]
    lease = world.store.claim(job["id"], Lane.PREPARE, "cpu-1", 30)
    assert lease
    ready = PreparedMedia(key=input_key(job["id"], lease.token), sha256="a", at=world.clock.now())
    odd = JobWarning(code="odd", message="the clip is odd", field="video")
    world.store.commit_prepare(lease, ready, (odd,))
    job = api.get(f"/jobs/{job['id']}").json()
    assert (job["status"], job["progress"]["preparing"]) == ("queued", False)
    assert job["warnings"] == [odd.model_dump()]


def test_a_job_may_continue_an_uploaded_video(api: TestClient, world: World) -> None:
    video = upload(api, world)
    answer = api.post("/jobs", json={"prompt": PROMPT, "video": video})
    assert answer.status_code == 202, answer.text
    assert answer.json()["request"]["video"] == video
    assert world.store.get(answer.json()["id"]).spec.video == video


def test_an_upload_must_be_there_before_a_job_names_it(api: TestClient) -> None:
    declared = api.post("/uploads", json=MP4).json()["id"]
    assert refusal(api, video=declared) == (422, "upload_incomplete", "video")
    assert refusal(api, video="upl_" + "a" * 20) == (422, "upload_not_found", "video")


def test_image_and_video_exclude_each_other(api: TestClient, world: World) -> None:
    assert refusal(api, image=upload(api, world, "image/png"), video=upload(api, world)) == (
        422,
        "invalid_field",
        "video",
    )


def test_private_addresses_are_refused(api: TestClient) -> None:
    assert refusal(api, video="http://files.internal/a.mp4") == (422, "media_url_refused", "video")


def test_an_image_needs_a_model_that_begins_with_one(world: World) -> None:
    write_fake_preset(world.settings.presets_dir, "pictures", accepts_image=True)
    copy_sprites(world.settings.presets_dir)
    with world.client() as api:
        image = upload(api, world, "image/png")
        assert api.post("/jobs", json={"prompt": PROMPT, "model": "pictures", "image": image}).status_code == 202
        for model in ("fake", "sprites"):
            answer = api.post("/jobs", json={"prompt": PROMPT, "model": model, "image": image})
            assert (answer.status_code, answer.json()["field"]) == (422, "image")
            assert f"{model} takes no image" in answer.json()["detail"]
        accepts = {model["name"]: model["accepts_image"] for model in api.get("/models").json()["models"]}
    assert accepts == {"fake": False, "pictures": True, "sprites": False}
