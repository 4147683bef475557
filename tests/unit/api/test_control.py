"""Jobs along an input: control videos and whole videos, their uploads, their length, and what may not change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.service.domain.errors import JobNotFound, LongtakeError, StaleLease
from core.service.domain.schema import ChunkLists, JobStatus, Lane, PreparedMedia
from core.service.domain.transitions import restore
from core.service.domain.uploads import upload_key
from core.service.engines.capabilities import SizeRule
from core.service.settings import Settings
from core.service.video.playlist import SLIDING_CHUNKS
from tests.helpers.api_world import PROMPT, World, submit
from tests.helpers.presets import write_fake_preset

URL = "https://example.com/clip.mp4"
CONTROL = {"type": "canny", "video": URL}
SIZES = SizeRule(multiple_of=8, min_side=32, max_pixels=128 * 128).model_dump()


@pytest.fixture
def world(tmp_path: Path) -> World:
    keys: dict[str, Any] = {"length_of_input": True, "size": SIZES, "control": ["canny", "depth"]}
    write_fake_preset(tmp_path, "fake", video="whole", **keys)
    return World(Settings(presets_dir=tmp_path, default_model="fake", max_frames=800, media="proxy"))


@pytest.fixture
def api(world: World) -> Iterator[TestClient]:
    with world.client() as client:
        yield client


def refusal(answer: Any) -> tuple[int, str, str]:
    problem = answer.json()
    return answer.status_code, problem["code"], problem["errors"][0]["field"]


@pytest.mark.parametrize("field", ["control", "video"])
def test_the_length_is_null_until_the_input_is_read(api: TestClient, world: World, field: str) -> None:
    job_id = submit(api, **{field: CONTROL if field == "control" else URL})
    job = api.get(f"/jobs/{job_id}")
    assert (job.json()["request"]["num_frames"], job.json()["request"]["endless_limit"]) == (None, 800)
    assert (job.json()["progress"]["frames_total"], job.json()["progress"]["preparing"]) == (None, True)
    world.prepare(job_id, 40)
    read = api.get(f"/jobs/{job_id}", headers={"If-None-Match": job.headers["etag"]})
    assert read.status_code == 200
    assert (read.json()["request"]["num_frames"], read.json()["request"]["endless_limit"]) == (40, None)
    assert (read.json()["progress"]["frames_total"], read.json()["progress"]["chunks_total"]) == (40, 3)
    world.finish(job_id)
    assert api.get(f"/jobs/{job_id}").json()["status"] == "succeeded"


@pytest.mark.parametrize("field", ["control", "video"])
def test_the_playlist_of_a_job_that_got_its_length_has_all_chunks(api: TestClient, world: World, field: str) -> None:
    job_id = submit(api, **{field: CONTROL if field == "control" else URL})
    world.prepare(job_id, 800)
    for _ in range(SLIDING_CHUNKS + 2):
        world.make_chunk(job_id)
    text = api.get(f"/jobs/{job_id}/playlist.m3u8").text
    assert (text.count("#EXTINF"), text.count("MEDIA-SEQUENCE:0\n")) == (SLIDING_CHUNKS + 2, 1)


def test_a_restored_log_tells_no_length_before_the_input_was_read(api: TestClient, world: World) -> None:
    job_id = submit(api, control=CONTROL)
    world.prepare(job_id, 40)
    world.finish(job_id)
    record = world.store.get(job_id)
    restored = restore(record, ChunkLists(tuple(world.store.chunks(job_id, "preview")), ()))
    assert [event.data["frames_total"] for event in restored.events][:2] == [None, 40]
    assert [event.data for event in restored.events] == [event.data for event in world.events.read(job_id)]


def test_prompts_beyond_the_end_of_the_input_give_warnings_once_that_is_known(api: TestClient, world: World) -> None:
    prompts = [{"start_frame": frame, "text": f"a red circle {frame}"} for frame in (0, 32, 500)]
    job_id = submit(api, prompt=None, prompts=prompts, control=CONTROL)
    assert api.patch(f"/jobs/{job_id}", json={"prompt": "a blue square", "from_frame": 640}).status_code == 200
    world.prepare(job_id, 40)
    warnings = api.get(f"/jobs/{job_id}").json()["warnings"]
    assert {(warning["code"], warning["field"]) for warning in warnings} == {("prompt_beyond_end", "prompts")}
    assert [warning["message"] for warning in warnings] == [
        f"the prompt from frame {frame} on has no effect: the video has 40 frames" for frame in (500, 640)
    ]
    world.finish(job_id)


def test_openai_s_video_and_the_events_tell_no_length_until_the_input_is_read(api: TestClient, world: World) -> None:
    job_id = submit(api, control=CONTROL)
    video = api.get(f"/v1/videos/{job_id}").json()
    assert (video["status"], video["seconds"], video["progress"]) == ("queued", "0", 0)
    world.prepare(job_id, 40)
    assert api.get(f"/v1/videos/{job_id}").json()["seconds"] == "5"
    world.finish(job_id)
    lines = api.get(f"/jobs/{job_id}/events").text.splitlines()
    data = [json.loads(line.removeprefix("data: "))["data"] for line in lines if line.startswith("data: ")]
    assert [told["frames_total"] for told in data] == [None] + [40] * 5


@pytest.mark.parametrize(("way", "error"), [("cancel", StaleLease), ("delete", JobNotFound)])
def test_a_job_that_is_ended_while_its_input_is_read_gets_no_length(
    api: TestClient, world: World, way: str, error: type[LongtakeError]
) -> None:
    job_id = submit(api, control=CONTROL)
    lease = world.store.claim(job_id, Lane.PREPARE, "cpu-1", 30)
    assert lease
    ended = api.post(f"/jobs/{job_id}/cancel") if way == "cancel" else api.delete(f"/jobs/{job_id}")
    assert ended.status_code == 202
    prepared = PreparedMedia(key="p", sha256="a", at=world.clock.now(), whole_video=True, num_frames=40)
    with pytest.raises(error):
        world.store.commit_prepare(lease, prepared)
    record = world.store.memory.records[job_id]
    assert (record.spec.num_frames, record.prepared) == (None, None)
    assert record.status is JobStatus.CANCELED


def test_answers_show_what_is_used(api: TestClient) -> None:
    request = api.get(f"/jobs/{submit(api, control=CONTROL, size='96x64')}").json()["request"]
    assert request["control"] == {**CONTROL, "scale": 1.0, "start": 0.0, "end": 1.0}
    assert (request["width"], request["height"]) == (96, 64)


def test_a_dry_run_of_unknown_length_has_no_totals(api: TestClient) -> None:
    plan = api.post("/jobs?dry_run=true", json={"prompt": PROMPT, "control": CONTROL}).json()
    assert (plan["num_chunks"], plan["last_chunk_frames"]) == (None, None)


@pytest.mark.parametrize("num_frames", [None, 80])
@pytest.mark.parametrize("given", [{"control": CONTROL}, {"video": URL}])
def test_the_length_does_not_change_on_the_way(
    api: TestClient, world: World, given: dict[str, Any], num_frames: int | None
) -> None:
    job_id = submit(api, **given)
    change = {"num_frames": num_frames}
    refused = (422, "field_not_supported", "num_frames")
    answers = [api.patch(f"/jobs/{job_id}", json=change)]
    world.prepare(job_id, 40)
    answers.append(api.patch(f"/jobs/{job_id}", json=change))
    world.make_chunk(job_id)
    answers.append(api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 1, **change}))
    assert [refusal(answer) for answer in answers] == [refused] * 3
    fixes = [answer.json()["fix"] for answer in answers]
    assert fixes == (["leave it out"] * 3 if num_frames is None else ["submit a new job"] * 2 + ["leave it out"])
    world.finish(job_id)
    assert refusal(api.post(f"/jobs/{job_id}/extend", json={"num_frames": 16})) == refused


def test_a_branch_has_the_length_and_reads_the_input_again(api: TestClient, world: World) -> None:
    job_id = submit(api, control=CONTROL)
    world.prepare(job_id, 40)
    world.make_chunk(job_id)
    branch = api.post(f"/jobs/{job_id}/branch", json={"from_chunk": 1}).json()
    assert (branch["request"]["num_frames"], branch["request"]["control"]["video"]) == (40, URL)
    assert world.store.get(branch["id"]).prepare_again


def test_a_retried_job_has_the_length_and_reads_the_input_again(api: TestClient, world: World) -> None:
    job_id = submit(api, control=CONTROL)
    world.prepare(job_id, 40)
    world.make_chunk(job_id)
    api.post(f"/jobs/{job_id}/cancel")
    world.finalize(job_id)
    assert api.post(f"/jobs/{job_id}/retry").json()["progress"]["preparing"]
    world.prepare(job_id, 40)
    world.finish(job_id)
    assert world.store.get(job_id).frames_done == 40


@pytest.mark.parametrize(("now", "codes"), [("a", []), ("b", ["input_changed"])])
@pytest.mark.parametrize("way", ["retry", "branch"])
def test_an_input_that_has_changed_when_it_is_read_again_gives_a_warning(
    api: TestClient, world: World, way: str, now: str, codes: list[str]
) -> None:
    job_id = submit(api, control=CONTROL)
    world.prepare(job_id, 40)
    world.make_chunk(job_id)
    api.post(f"/jobs/{job_id}/cancel")
    world.finalize(job_id)
    again = api.post(f"/jobs/{job_id}/{way}", json={"from_chunk": 1} if way == "branch" else None).json()["id"]
    if way == "branch":
        lease = world.store.claim(again, Lane.PREPARE, "cpu-1", 30)
        assert lease
        world.store.commit_copies(lease, world.store.chunks(job_id, "preview"))
    world.prepare(again, 40, now)
    warnings = api.get(f"/jobs/{again}").json()["warnings"]
    assert [warning["code"] for warning in warnings] == codes
    assert [warning["field"] for warning in warnings] == ["control.video"] * len(codes)
    world.finish(again)


def test_the_control_video_may_be_an_upload(api: TestClient, world: World) -> None:
    upload = api.post("/uploads", json={"content_type": "video/mp4", "size_bytes": 3}).json()["id"]
    body = {"prompt": PROMPT, "control": {"type": "canny", "video": upload}}
    assert refusal(api.post("/jobs", json=body)) == (422, "upload_incomplete", "control.video")
    world.storage.put(upload_key(upload), b"abc", "video/mp4")
    assert api.post("/jobs", json=body).status_code == 202


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"control": {"type": "canny", "video": "upl_aaaaaaaaaaaaaaaaaaaa"}}, "upload_not_found", "control.video"),
        ({"control": {"type": "canny", "video": "https://a.internal/a.mp4"}}, "media_url_refused", "control.video"),
        ({"control": {"type": "pose", "video": URL}}, "invalid_field", "control.type"),
        ({"control": {"type": "canny"}}, "invalid_field", "control.video"),
        ({"control": "canny"}, "invalid_field", "control"),
        ({"control": CONTROL, "video": URL}, "invalid_field", "control"),
        ({"size": "97x64"}, "invalid_field", "size"),
        ({"size": "large"}, "invalid_field", "size"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(api: TestClient, fields: dict[str, Any], code: str, field: str) -> None:
    assert refusal(api.post("/jobs", json={"prompt": PROMPT, **fields})) == (422, code, field)


def test_a_control_that_is_not_installed_says_so(api: TestClient) -> None:
    answer = api.post("/jobs", json={"prompt": PROMPT, "control": {"type": "depth", "video": URL}})
    assert (answer.status_code, answer.json()["code"]) == (503, "model_not_installed")
    assert "controlnet/depth of the preset's folder" in answer.text


def test_openai_s_size_is_made_directly_where_the_model_can(api: TestClient, world: World) -> None:
    video = api.post("/v1/videos", json={"prompt": PROMPT, "size": "96x64"}).json()
    assert (video["size"], world.store.get(video["id"]).spec.width) == ("96x64", 96)
    refused = api.post("/v1/videos", json={"prompt": PROMPT, "size": "97x64"}).json()["error"]
    assert (refused["param"], "give 96x64" in refused["message"]) == ("size", True)


def test_a_remix_has_the_control_and_the_size(api: TestClient, world: World) -> None:
    source = submit(api, control=CONTROL, size="96x64")
    remix = api.post(f"/v1/videos/{source}/remix", json={"prompt": "a blue circle"}).json()["id"]
    old, new = (world.store.get(job_id).spec for job_id in (source, remix))
    assert new.model_copy(update={"prompt": old.prompt, "metadata": {}, "seed": old.seed}) == old
