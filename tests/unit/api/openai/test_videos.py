"""/v1/videos over fakes: what becomes of the fields, what is shown, what is refused."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.openai.requests import remix_of
from core.service.admission.catalog import Catalog
from core.service.domain.schema import JobError
from core.service.domain.uploads import upload_key
from core.service.settings import Settings
from tests.helpers.api_world import PROMPT, World, submit
from tests.helpers.jobs import queued_job
from tests.helpers.presets import write_fake_preset

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
AUTHORIZED = {"Authorization": "Bearer any"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    write_fake_preset(tmp_path, "fake", refiner=True)
    write_fake_preset(tmp_path, "pictures", accepts_image=True)
    return World(Settings(presets_dir=tmp_path, default_model="fake", default_num_frames=48, media="proxy"))


@pytest.fixture
def api(world: World) -> Iterator[TestClient]:
    with world.client() as client:
        yield client


def create(api: TestClient, **fields: Any) -> dict[str, Any]:
    answer = api.post("/v1/videos", json={"prompt": PROMPT, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(answer: Any) -> tuple[int, str, str | None]:
    """Status, code and parameter of a refused request, which is in OpenAI's form."""
    assert answer.headers["content-type"] == "application/json"
    (error,) = answer.json().values()
    assert set(error) == {"message", "type", "param", "code"}
    return answer.status_code, error["code"], error["param"]


def test_a_video_is_a_job_with_the_same_id(api: TestClient, world: World) -> None:
    video = create(api)
    assert video == {
        "id": video["id"],
        "object": "video",
        "status": "queued",
        "model": "fake",
        "prompt": PROMPT,
        "progress": 0,
        "seconds": "6",
        "size": "64x64",
        "created_at": int(world.clock.now().timestamp()),
        "completed_at": None,
        "expires_at": None,
        "remixed_from_video_id": None,
        "error": None,
    }
    job = api.get(f"/jobs/{video['id']}").json()
    assert (job["request"]["num_frames"], job["request"]["refine"]) == (48, None)
    assert api.get(f"/v1/videos/{video['id']}").json() == video


@pytest.mark.parametrize(("seconds", "num_frames"), [("4", 32), (4, 32), (2.5, 20), ("12", 96)])
def test_seconds_are_texts_or_numbers(api: TestClient, seconds: object, num_frames: int) -> None:
    video = create(api, seconds=seconds)
    assert api.get(f"/jobs/{video['id']}").json()["request"]["num_frames"] == num_frames
    assert video["seconds"] == f"{float(str(seconds)):g}"


def test_a_size_is_the_models_own_or_one_to_which_it_refines(api: TestClient) -> None:
    own, refined = create(api, size="64x64"), create(api, size="128x128")
    assert (own["size"], refined["size"]) == ("64x64", "128x128")
    jobs = [api.get(f"/jobs/{video['id']}").json()["request"]["refine"] for video in (own, refined)]
    assert jobs[0] is None
    assert (jobs[1]["width"], jobs[1]["height"]) == (128, 128)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"size": "1280x720"}, "invalid_field", "size"),
        ({"size": "large"}, "invalid_field", "size"),
        ({"model": "pictures", "size": "128x128"}, "invalid_field", "size"),
        ({"seconds": "1"}, "too_few_frames", "seconds"),
        ({"seconds": "4000"}, "too_many_frames", "seconds"),
        ({"seconds": "four"}, "invalid_field", "seconds"),
        ({"seconds": "0"}, "invalid_field", "seconds"),
        ({"seconds": True}, "invalid_field", "seconds"),
        ({"seconds": -4}, "invalid_field", "seconds"),
        ({"model": "sora-2"}, "unknown_model", "model"),
        ({"prompt": None}, "invalid_field", "prompt"),
        ({"prompt": "a " * 100}, "prompt_too_long", "prompt"),
        ({"n": 2}, "unknown_field", "n"),
        ({"input_reference": "a"}, "invalid_field", "input_reference"),
        ({"input_reference": {}}, "invalid_field", "input_reference"),
        ({"input_reference": {"url": "a"}}, "invalid_field", "input_reference.url"),
        ({"input_reference": {"image_url": "a", "file_id": "b"}}, "invalid_field", "input_reference"),
        ({"input_reference": {"image_url": "data:image/png,a"}}, "invalid_field", "input_reference.image_url"),
        ({"input_reference": {"image_url": "data:image/png;base64,?"}}, "invalid_field", "input_reference.image_url"),
        ({"input_reference": {"image_url": "http://a/" + "a" * 2000}}, "invalid_field", "input_reference.image_url"),
        ({"input_reference": {"image_url": "https://example.com/a.png"}}, "field_not_supported", "input_reference"),
        ({"model": "pictures", "input_reference": {"image_url": "ftp://a"}}, "media_url_refused", "input_reference"),
        ({"input_reference": {"file_id": "file-1"}}, "invalid_field", "input_reference.file_id"),
        (
            {"model": "pictures", "input_reference": {"file_id": "upl_" + "a" * 20}},
            "upload_not_found",
            "input_reference",
        ),
    ],
)
def test_what_a_model_cannot_make_is_refused_by_name(
    api: TestClient, fields: dict[str, Any], code: str, param: str
) -> None:
    answer = api.post("/v1/videos", json={"prompt": PROMPT, **fields})
    assert refusal(answer) == (400, code, param)
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_the_refusal_of_a_size_or_a_length_says_what_is_possible(api: TestClient) -> None:
    size = api.post("/v1/videos", json={"prompt": PROMPT, "size": "1280x720"}).json()["error"]["message"]
    assert "fake makes no videos of 1280x720" in size
    assert all(possible in size for possible in ("64x64", "128x128", "256x256"))
    short = api.post("/v1/videos", json={"prompt": PROMPT, "seconds": "1"}).json()["error"]["message"]
    assert "at least 16 frames (2 seconds at 8 fps)" in short


def test_a_form_is_read_as_json_is(api: TestClient) -> None:
    fields = {"prompt": PROMPT, "seconds": "4", "size": "128x128", "model": "fake"}
    answer = api.post("/v1/videos", data=fields, files={"unused": (None, b"")})
    assert refusal(answer) == (400, "unknown_field", "unused")
    form = {name: (None, value) for name, value in fields.items()}
    video = api.post("/v1/videos", files=form).json()
    assert (video["seconds"], video["size"], video["model"]) == ("4", "128x128", "fake")


@pytest.mark.parametrize(
    ("file", "code"),
    [(b"GIF89a", "invalid_field"), (b"", "invalid_field"), (PNG + bytes(1000), "upload_too_large")],
)
def test_a_file_that_is_no_image_or_too_large_is_refused(world: World, file: bytes, code: str) -> None:
    settings = world.settings.model_copy(update={"max_image_bytes": 1000})
    with world.client(settings) as api:
        form = {"prompt": (None, PROMPT), "model": (None, "pictures"), "input_reference": ("a.png", file)}
        assert refusal(api.post("/v1/videos", files=form)) == (400, code, "input_reference")
        form["input_reference"] = ("a.png", PNG + bytes(100_000))
        assert refusal(api.post("/v1/videos", files=form)) == (413, "body_too_large", None)
    assert not world.uploads.count()


def test_an_image_is_stored_as_an_upload_and_used_by_the_job(api: TestClient, world: World) -> None:
    form = {"prompt": (None, PROMPT), "model": (None, "pictures"), "input_reference": ("a.jpg", PNG)}
    url = {"image_url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}
    as_file = api.post("/v1/videos", files=form).json()
    as_url = create(api, model="pictures", input_reference=url)
    for video in (as_file, as_url):
        upload = world.uploads.get(api.get(f"/jobs/{video['id']}").json()["request"]["image"])
        assert (upload.content_type, upload.size_bytes) == ("image/png", len(PNG))
        assert world.storage.get(upload_key(upload.id)) == PNG
    assert not world.uploads.unsent(world.clock.now().replace(year=2100))


def test_an_upload_or_a_url_can_be_named_instead(api: TestClient, world: World) -> None:
    upload = api.post("/uploads", json={"content_type": "image/png", "size_bytes": len(PNG)}).json()["id"]
    world.storage.put(upload_key(upload), PNG, "image/png")
    named = create(api, model="pictures", input_reference={"file_id": upload})
    assert api.get(f"/jobs/{named['id']}").json()["request"]["image"] == upload
    url = "https://example.com/a.png"
    form = {"prompt": (None, PROMPT), "model": (None, "pictures"), "input_reference[image_url]": (None, url)}
    fetched = api.post("/v1/videos", files=form).json()
    assert api.get(f"/jobs/{fetched['id']}").json()["request"]["image"] == url


def test_the_image_of_a_refused_video_is_not_kept(api: TestClient, world: World) -> None:
    form = {"prompt": (None, PROMPT), "input_reference": ("a.png", PNG)}
    answer = api.post("/v1/videos", files=form)
    assert refusal(answer) == (400, "field_not_supported", "input_reference")
    assert not world.uploads.count()


def test_the_same_key_and_request_give_the_same_video_and_one_upload(api: TestClient, world: World) -> None:
    form = {"prompt": (None, PROMPT), "model": (None, "pictures"), "input_reference": ("a.png", PNG)}
    key = {"Idempotency-Key": "one"}
    first, second = (api.post("/v1/videos", files=form, headers=key).json() for _ in range(2))
    assert (first["id"], world.uploads.count()) == (second["id"], 1)
    url = {"image_url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}
    fields = {"prompt": PROMPT, "model": "pictures", "input_reference": url}
    assert api.post("/v1/videos", json=fields, headers=key).json()["id"] == first["id"], "the same image"
    form["input_reference"] = ("a.png", PNG + b"other")
    answer = api.post("/v1/videos", files=form, headers=key)
    assert refusal(answer) == (400, "idempotency_key_reused", "Idempotency-Key")


def test_a_form_of_another_web_page_is_refused_unless_it_is_authorized(api: TestClient) -> None:
    form = {"prompt": (None, PROMPT)}
    page = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    assert refusal(api.post("/v1/videos", files=form, headers=page)) == (415, "unsupported_media_type", None)
    own = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert api.post("/v1/videos", files=form, headers=own).status_code == 200
    assert api.post("/v1/videos", files=form, headers=page | AUTHORIZED).status_code == 200


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=\xe4", "text/plain"])
def test_a_body_of_another_form_is_refused(api: TestClient, content_type: str) -> None:
    answer = api.post("/v1/videos", content=b"prompt=a", headers={b"Content-Type": content_type.encode("latin-1")})
    assert refusal(answer)[:2] in {(400, "malformed_form"), (415, "unsupported_media_type")}


def test_large_bodies_are_read_a_few_at_a_time(api: TestClient) -> None:
    form = {"prompt": (None, PROMPT), "input_reference": ("a.png", PNG + bytes(100_000))}
    limit = cast(FastAPI, api.app).state.large_bodies
    with limit.hold("testclient"), limit.hold("testclient"):
        answer = api.post("/v1/videos", files=form)
        assert refusal(answer) == (503, "service_full", None)
        assert answer.headers["retry-after"]
        assert create(api)["status"] == "queued"
    assert refusal(api.post("/v1/videos", files=form))[1] == "field_not_supported"


def test_progress_and_status_follow_the_job(api: TestClient, world: World) -> None:
    video_id = create(api, seconds="4")["id"]
    world.start(video_id)
    world.step(video_id, 4)
    seen = api.get(f"/v1/videos/{video_id}").json()
    assert (seen["status"], seen["progress"]) == ("in_progress", 25)
    world.make_chunk(video_id)
    assert api.get(f"/v1/videos/{video_id}").json()["progress"] == 50
    world.finish(video_id)
    ended = api.get(f"/v1/videos/{video_id}").json()
    assert (ended["status"], ended["progress"], ended["error"]) == ("completed", 100, None)
    assert ended["completed_at"] == int(world.clock.now().timestamp()) < ended["expires_at"]


def test_refining_is_half_of_the_progress(api: TestClient, world: World) -> None:
    video_id = create(api, seconds="4", size="128x128")["id"]
    world.make_chunk(video_id)
    world.make_chunk(video_id)
    assert api.get(f"/v1/videos/{video_id}").json()["progress"] == 50
    world.refine_chunk(video_id)
    assert api.get(f"/v1/videos/{video_id}").json()["progress"] == 75


def test_failed_and_canceled_jobs_are_failed_videos_with_an_error(api: TestClient, world: World) -> None:
    failed, canceled = create(api)["id"], create(api)["id"]
    world.store.fail(failed, JobError(code="out_of_memory", message="no room", retryable=False))
    api.post(f"/jobs/{canceled}/cancel")
    seen = [api.get(f"/v1/videos/{video_id}").json() for video_id in (failed, canceled)]
    assert [video["status"] for video in seen] == ["failed", "failed"]
    assert seen[0]["error"] == {"code": "out_of_memory", "message": "no room"}
    assert seen[1]["error"]["code"] == "canceled"


def test_a_video_without_end_is_shown(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=None)
    world.make_chunk(job_id)
    video = api.get(f"/v1/videos/{job_id}").json()
    assert (video["seconds"], video["progress"], video["status"]) == ("2", 0, "in_progress")


def test_the_content_is_the_final_video_or_a_picture(api: TestClient, world: World) -> None:
    video_id = create(api, seconds="4")["id"]
    assert refusal(api.get(f"/v1/videos/{video_id}/content")) == (404, "video_not_ready", None)
    world.finish(video_id)
    record = world.store.get(video_id)
    assert record.video_key
    assert record.thumbnail_key
    world.storage.put(record.video_key, b"the video", "video/mp4")
    world.storage.put(record.thumbnail_key, b"the picture", "image/jpeg")
    answer = api.get(f"/v1/videos/{video_id}/content", headers={"Accept": "application/binary"})
    assert (answer.content, answer.headers["content-type"]) == (b"the video", "video/mp4")
    assert f'filename="{video_id}.mp4"' in answer.headers["content-disposition"]
    part = api.get(f"/v1/videos/{video_id}/content", headers={"Range": "bytes=0-2"})
    assert (part.status_code, part.content) == (206, b"the")
    picture = api.get(f"/v1/videos/{video_id}/content", params={"variant": "thumbnail"})
    assert (picture.content, picture.headers["content-type"]) == (b"the picture", "image/jpeg")
    unknown = api.get(f"/v1/videos/{video_id}/content", params={"variant": "sound"})
    assert refusal(unknown) == (400, "invalid_field", "variant")


def test_the_content_is_redirected_where_media_are(world: World) -> None:
    with world.client(world.settings.model_copy(update={"media": "redirect"})) as api:
        video_id = create(api, seconds="2")["id"]
        world.finish(video_id)
        assert api.get(f"/v1/videos/{video_id}/content").status_code == 307


def test_the_content_of_a_refined_video_is_the_refined_one(api: TestClient, world: World) -> None:
    video_id = create(api, seconds="2", size="128x128")["id"]
    world.make_chunk(video_id)
    world.refine_chunk(video_id)
    world.finalize(video_id)
    record = world.store.get(video_id)
    assert record.refined_video_key
    world.storage.put(record.refined_video_key, b"refined", "video/mp4")
    assert api.get(f"/v1/videos/{video_id}/content").content == b"refined"


def test_a_deleted_video_is_gone(api: TestClient) -> None:
    video_id = create(api)["id"]
    answer = api.delete(f"/v1/videos/{video_id}")
    assert answer.json() == {"id": video_id, "object": "video.deleted", "deleted": True}
    assert refusal(api.get(f"/v1/videos/{video_id}")) == (404, "job_not_found", None)
    assert refusal(api.delete(f"/v1/videos/{video_id}")) == (404, "job_not_found", None)


def test_a_remix_is_the_same_with_another_prompt(api: TestClient, world: World) -> None:
    source = submit(api, seconds=4, seed=7, fps=29.97, refine={"size": "128x128", "steps": 2}, metadata={"a": "b"})
    remix = api.post(f"/v1/videos/{source}/remix", json={"prompt": "a blue circle"}).json()
    assert (remix["remixed_from_video_id"], remix["prompt"], remix["size"]) == (source, "a blue circle", "128x128")
    old, new = (world.store.get(job_id).spec for job_id in (source, remix["id"]))
    changed = {"prompt": "a blue circle", "metadata": {"remixed_from_video_id": source}}
    assert new == old.model_copy(update=changed)


@pytest.mark.parametrize(("video", "parameters"), [(None, {}), ("https://example.com/a.mp4", {"strength": 0.8})])
def test_a_remix_leaves_out_parameters_that_would_do_nothing(video: str | None, parameters: dict[str, float]) -> None:
    """Records of older versions have them."""
    source = queued_job(model="cogvideox-2b", video=video, parameters={"strength": 0.8})
    assert remix_of(source, "a blue circle", Catalog(Settings())).parameters == parameters


def test_a_remix_of_a_video_without_end_has_none(api: TestClient, world: World) -> None:
    remix = api.post(f"/v1/videos/{submit(api, num_frames=None)}/remix", json={"prompt": "a blue circle"}).json()
    assert world.store.get(remix["id"]).spec.is_endless


@pytest.mark.parametrize("body", [{}, {"prompt": ""}, {"prompt": "a", "seconds": "4"}])
def test_a_remix_takes_a_prompt_alone(api: TestClient, body: dict[str, str]) -> None:
    answer = api.post(f"/v1/videos/{submit(api)}/remix", json=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert refusal(api.post("/v1/videos/job_none/remix", json={"prompt": "a"})) == (404, "job_not_found", None)


def test_pages_go_on_after_a_place_that_stays(api: TestClient, world: World) -> None:
    made = list[str]()
    for _ in range(5):
        made.insert(0, create(api)["id"])
        world.clock.advance(1)
    first = api.get("/v1/videos", params={"limit": 2}).json()
    assert ([video["id"] for video in first["data"]], first["has_more"]) == (made[:2], True)
    assert (first["object"], first["first_id"]) == ("list", made[0])
    api.delete(f"/v1/videos/{made[1]}")
    second = api.get("/v1/videos", params={"limit": 2, "after": first["last_id"]}).json()
    assert [video["id"] for video in second["data"]] == made[2:4]
    third = api.get("/v1/videos", params={"after": made[3]}).json()
    assert ([video["id"] for video in third["data"]], third["has_more"]) == (made[4:], False)
    none = api.get("/v1/videos", params={"after": third["last_id"]}).json()
    assert none == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_pages_go_on_after_a_video_with_an_id_of_the_clients_own(api: TestClient, world: World) -> None:
    older = create(api)["id"]
    world.clock.advance(1)
    api.put("/jobs/trailer-7", json={"prompt": PROMPT})
    page = api.get("/v1/videos", params={"limit": 1}).json()
    assert page["data"][0]["id"] == "trailer-7"
    for after in (page["last_id"], "trailer-7"):
        found = api.get("/v1/videos", params={"after": after}).json()["data"]
        assert [video["id"] for video in found] == [older]


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ({"after": "job_none"}, "invalid_field", "after"),
        ({"after": "place_none"}, "invalid_field", "after"),
        ({"after": ""}, "invalid_field", "after"),
        ({"limit": "0"}, "invalid_field", "limit"),
        ({"limit": "101"}, "invalid_field", "limit"),
        ({"order": "up"}, "invalid_field", "order"),
        ({"before": "a"}, "unknown_parameter", "before"),
    ],
)
def test_pages_that_do_not_exist_are_refused(api: TestClient, query: dict[str, str], code: str, param: str) -> None:
    assert refusal(api.get("/v1/videos", params=query)) == (400, code, param)


def test_a_video_whose_model_is_gone_is_still_shown(world: World, tmp_path: Path) -> None:
    with world.client() as api:
        video_id = create(api)["id"]
    shutil.rmtree(tmp_path / "fake")
    with world.client() as api:
        assert api.get(f"/v1/videos/{video_id}").json()["size"] is None
        assert len(api.get("/v1/videos").json()["data"]) == 1
        assert refusal(api.post(f"/v1/videos/{video_id}/remix", json={"prompt": "a"})) == (
            400,
            "unknown_model",
            "model",
        )
