"""The real thing: the shipped `sprites` preset, its networks and weights, through the whole service.

Few and short, because every frame costs: what only real networks can show. The machinery around them is tested with
the fake engine in the other files.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest

from core.model.evaluation.metrics.frame_reader import read_frame
from core.service.domain.schema import Job, JobStatus
from tests.helpers.clips import picture
from tests.helpers.deadline import eventually
from tests.helpers.presets import copy_sprites
from tests.helpers.service import FullJob, Service, fetch, running_service
from tests.helpers.uploads import upload
from tests.helpers.video import frames_of, probe

PROMPT = "a red circle moving left over a striped background"
NUM_FRAMES = 33
WHOLE_FRAMES = 64
SECONDS = 240
"""A chunk takes some seconds on two idle cores, and cores are not always idle."""
pytestmark = pytest.mark.timeout(4 * SECONDS)


@pytest.fixture(scope="module")
def sprites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("sprites")
    copy_sprites(folder / "presets")
    with running_service(folder, folder / "presets") as service:
        service.start_workers("sprites")
        yield service


def submit(service: Service, num_frames: int = NUM_FRAMES, seed: int = 1, prompt: str = PROMPT) -> Job:
    return service.submit(model="sprites", prompt=prompt, num_frames=num_frames, seed=seed)


def hashes(job: FullJob) -> list[str]:
    return [chunk.sha256 for chunk in job.chunks]


@pytest.fixture(scope="module")
def watched(sprites: Service) -> FullJob:
    """A job whose first chunk was fetched and decoded while it ran, and whose live playlist was played to the end."""
    job = submit(sprites)
    chunk = sprites.wait_for_chunks(job.id, 1, SECONDS)[0]
    assert probe(fetch(chunk.url)).num_frames == 16
    assert sprites.job(job.id).status is JobStatus.RUNNING
    assert probe(job.links.playlist).num_frames == NUM_FRAMES
    return sprites.wait_for_success(job.id, SECONDS)


def test_video_is_watched_while_it_is_made_and_whole_in_the_end(sprites: Service, watched: FullJob) -> None:
    video = probe(sprites.video(watched.id))
    assert (video.num_frames, video.width, video.height) == (NUM_FRAMES, 64, 64)


def test_video_moves_and_has_no_flat_frame(sprites: Service, watched: FullJob) -> None:
    frames = frames_of(sprites.video(watched.id)).astype(np.float32)
    assert frames.std(axis=(1, 2, 3)).min() > 5
    assert np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3)).max() > 0.5


def test_worker_killed_in_a_window_leaves_a_video_of_the_same_bytes(sprites: Service, watched: FullJob) -> None:
    job = submit(sprites)

    def inside_the_second_chunk() -> bool:
        progress = sprites.job(job.id).progress
        return progress.chunks_done == 1 and progress.step > 1

    eventually(inside_the_second_chunk, "a step of the second chunk", seconds=SECONDS)
    os.kill(sprites.worker_pid("sprites") or 0, signal.SIGKILL)
    assert hashes(sprites.wait_for_success(job.id, SECONDS)) == hashes(watched)


def test_a_changed_prompt_is_seen_within_two_chunks_without_a_seam_and_survives_a_kill(sprites: Service) -> None:
    prompts = [{"start_frame": 0, "text": PROMPT}, {"start_frame": 16, "text": PROMPT.replace("red", "blue")}]
    job = sprites.submit(model="sprites", prompt=None, prompts=prompts, num_frames=48, seed=1)

    def inside_the_second_chunk() -> bool:
        progress = sprites.job(job.id).progress
        return progress.chunks_done == 1 and progress.step > 1

    eventually(inside_the_second_chunk, "a step of the second chunk", seconds=SECONDS)
    os.kill(sprites.worker_pid("sprites") or 0, signal.SIGKILL)
    steered = sprites.wait_for_success(job.id, SECONDS)
    again = sprites.submit(model="sprites", prompt=None, prompts=prompts, num_frames=48, seed=1)
    assert hashes(sprites.wait_for_success(again.id, SECONDS)) == hashes(steered)
    frames = frames_of(sprites.video(job.id))
    colours = [read_frame(frame)[0].colour for frame in frames]
    assert set(colours[:16]) == {"red"}
    assert set(colours[24:]) == {"blue"}
    changes = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
    assert changes[15] <= 1.5 * max(changes[23], changes[31], changes[39]), "the border of the change is a seam"


def continued(service: Service, path: str, **body: object) -> Job:
    answer = service.http.post(path, json=body or None)
    assert answer.status_code == 202, answer.text
    return Job.model_validate_json(answer.content)


@pytest.fixture(scope="module")
def whole(sprites: Service) -> FullJob:
    """WHOLE_FRAMES made at once."""
    return sprites.wait_for_success(submit(sprites, WHOLE_FRAMES).id, SECONDS)


def test_an_extended_video_has_the_bytes_of_one_made_at_once(sprites: Service, whole: FullJob) -> None:
    """From the midst of a chunk, which is made anew; from a chunk's end: see the branches, and test_continuing.py."""
    job = sprites.wait_for_success(submit(sprites, WHOLE_FRAMES - 24).id, SECONDS)
    continued(sprites, f"/jobs/{job.id}/extend", num_frames=24)
    assert hashes(sprites.wait_for_success(job.id, SECONDS)) == hashes(whole)
    assert sprites.video(job.id) == sprites.video(whole.id)


def test_a_canceled_video_that_is_retried_and_a_branch_have_the_bytes_of_the_whole(
    sprites: Service, whole: FullJob
) -> None:
    job = submit(sprites, WHOLE_FRAMES)
    sprites.wait_for_chunks(job.id, 2, SECONDS)
    continued(sprites, f"/jobs/{job.id}/cancel")
    assert sprites.wait_for_end(job.id, SECONDS).status is JobStatus.CANCELED
    branch = continued(sprites, f"/jobs/{job.id}/branch", from_chunk=2)
    other = continued(sprites, f"/jobs/{job.id}/branch", from_chunk=2, seed=2, num_frames=48)
    continued(sprites, f"/jobs/{job.id}/retry")
    assert hashes(sprites.wait_for_success(job.id, SECONDS)) == hashes(whole)
    assert hashes(sprites.wait_for_success(branch.id, SECONDS)) == hashes(whole)
    reseeded = hashes(sprites.wait_for_success(other.id, SECONDS))
    assert reseeded[:2] == hashes(whole)[:2]
    assert reseeded[2] != hashes(whole)[2]


def test_a_prompt_of_an_extension_is_that_of_a_schedule(sprites: Service) -> None:
    blue = PROMPT.replace("red", "blue")
    job = sprites.wait_for_success(submit(sprites, 24).id, SECONDS)
    continued(sprites, f"/jobs/{job.id}/extend", num_frames=24, prompt=blue)
    prompts = [{"start_frame": 0, "text": PROMPT}, {"start_frame": 24, "text": blue}]
    scheduled = sprites.submit(model="sprites", prompt=None, prompts=prompts, num_frames=48, seed=1)
    assert hashes(sprites.wait_for_success(job.id, SECONDS)) == hashes(sprites.wait_for_success(scheduled.id, SECONDS))


def test_another_seed_and_another_prompt_give_other_bytes(sprites: Service, watched: FullJob) -> None:
    jobs = [
        submit(sprites, 16, seed=2),
        submit(sprites, 16, prompt="a blue square moving up over a checkered background"),
    ]
    firsts = {hashes(sprites.wait_for_success(job.id, SECONDS))[0] for job in jobs}
    assert len(firsts | {hashes(watched)[0]}) == 3


def test_a_video_continues_from_the_end_of_another(sprites: Service, watched: FullJob) -> None:
    before = sprites.video(watched.id)
    job = sprites.submit(model="sprites", prompt=PROMPT, num_frames=17, video=upload(sprites, before))
    after = frames_of(sprites.video(sprites.wait_for_success(job.id, SECONDS).id)).astype(np.float32)
    last_frames = frames_of(before)[-16:].astype(np.float32)
    assert np.abs(after[:16] - last_frames).mean() < 3, "the same pictures, encoded once more"
    assert np.abs(after[16] - after[15]).mean() < 40, "no cut"


def test_image_is_refused_with_the_reason(sprites: Service) -> None:
    image = upload(sprites, picture((200, 100, 50)), "image/png")
    response = sprites.http.post("/jobs", json={"model": "sprites", "prompt": PROMPT, "image": image})
    assert (response.status_code, response.json()["code"]) == (422, "field_not_supported")
    assert "sprites takes no image" in response.json()["detail"]


def test_prompt_longer_than_the_text_encoder_reads_is_refused_with_the_limit(sprites: Service) -> None:
    limit = sprites.http.get("/models").json()["models"][0]["limits"]["max_prompt_tokens"]
    response = sprites.http.post("/jobs", json={"model": "sprites", "prompt": "red circle " * limit})
    assert response.status_code == 422
    assert response.json()["code"] == "prompt_too_long"
    assert str(limit) in response.text
