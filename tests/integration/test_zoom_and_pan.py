"""The example engine of docs/engines.md, installed as a third party's package, through the whole service."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.metrics.video.cuts import can_count_cuts
from core.model.evaluation.metrics.block_flow import flow_figures
from core.model.evaluation.metrics.hard_cuts import count_cuts
from core.service.settings import SHIPPED_PRESETS_DIR
from tests.conftest import REPOSITORY
from tests.helpers.clips import clip, numbers_of, picture
from tests.helpers.service import FullJob, Service, fetch, running_service
from tests.helpers.uploads import upload
from tests.helpers.video import frames_of, probe

MODEL = "zoom_and_pan"
PACKAGE = "longtake_zoom_and_pan"
LONG = 320


def install(target: Path) -> Path:
    """The example's package in a folder for PYTHONPATH, with the metadata that pip would write."""
    shutil.copytree(REPOSITORY / "examples" / "zoom_and_pan" / PACKAGE, target / PACKAGE)
    info = target / f"{PACKAGE}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: longtake-zoom-and-pan\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[longtake.engines]\n{MODEL} = {PACKAGE}:ZOOM_AND_PAN\n")
    return target


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Workers for the example's own preset; the deployment's folder has none of it."""
    folder = tmp_path_factory.mktemp("zoom")
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(install(folder / "site")), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        with running_service(folder, SHIPPED_PRESETS_DIR, default_model=MODEL) as service:
            service.start_workers(MODEL)
            yield service


@pytest.fixture(scope="module")
def image(service: Service) -> str:
    """The id of an upload."""
    return upload(service, picture((200, 100, 50), size=(300, 200)), "image/png")


def hashes(job: FullJob) -> list[str]:
    return [chunk.sha256 for chunk in job.chunks]


def refusal(service: Service, **fields: object) -> tuple[int, str, str]:
    """Status, code and field of a refused request."""
    response = service.http.post("/jobs", json={"model": MODEL, "prompt": "a zoom", **fields})
    problem = response.json()
    return response.status_code, problem["code"], problem["errors"][0]["field"]


def test_the_models_list_says_what_the_engine_takes(service: Service) -> None:
    models = {model["name"]: model for model in service.http.get("/models").json()["models"]}
    assert models[MODEL]["capabilities"] == {
        "fields": ["fps"],
        "image": True,
        "video": "whole",
        "control": [],
        "size": None,
        "prompt": "required",
        "length_of_input": False,
        "needs_input": True,
        "prompt_changes": False,
        "endless": False,
        "reseeds": False,
        "windows": None,
    }
    assert models[MODEL]["profiles"] == {}
    assert models[MODEL]["parameters"]["properties"]["zoom"]["maximum"] == 4


def test_an_image_with_parameters_becomes_chunks_a_playlist_and_a_video(service: Service, image: str) -> None:
    made = service.submit(model=MODEL, seed=None, image=image, num_frames=40, parameters={"zoom": 2, "direction": "up"})
    job = service.wait_for_success(made.id)
    assert [chunk.num_frames for chunk in job.chunks] == [16, 16, 8]
    assert job.request.parameters == {"zoom": 2.0, "direction": "up"}
    assert job.request.num_inference_steps is None
    playlist = service.http.get(f"/jobs/{job.id}/playlist.m3u8").text
    assert playlist.count("#EXTINF") == 3
    found = probe(service.video(job.id))
    assert (found.num_frames, found.width, found.height) == (40, 128, 128)


def test_a_worker_killed_during_a_whole_video_changes_no_byte(service: Service, tmp_path: Path) -> None:
    data = clip(tmp_path / "long.mp4", LONG, fps=8, height=128, width=128).read_bytes()
    video = upload(service, data)
    asked = {"model": MODEL, "seed": None, "video": video, "num_frames": LONG, "parameters": {"zoom": 1}}
    whole = service.wait_for_success(service.submit(**asked).id)
    job = service.submit(**asked)
    service.wait_for_chunks(job.id, 2)
    pid = service.worker_pid(MODEL)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert not service.job(job.id).status.is_terminal
    resumed = service.wait_for_success(job.id)
    assert hashes(resumed) == hashes(whole)
    assert service.video(job.id) == service.video(whole.id)
    frames = frames_of(service.video(job.id))
    assert numbers_of(frames) == [number % 64 for number in range(LONG)]
    chunk = frames_of(fetch(resumed.chunks[3].url))
    assert np.abs(chunk.astype(int) - frames_of(data)[48:64]).mean() < 3, "the same pictures, but for two codecs"


def test_a_video_that_is_shorter_than_the_job_fails_it_and_says_how_long_it_is(
    service: Service, tmp_path: Path
) -> None:
    video = upload(service, clip(tmp_path / "short.mp4", 20, fps=8, height=128, width=128).read_bytes())
    error = service.wait_for_end(service.submit(model=MODEL, seed=None, video=video, num_frames=32).id).error
    assert error is not None
    assert error.code == "video_too_short"
    assert error.message == "video has 20 frames (2.5 s) at 8 frames per second; 32 are needed"


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_retried_job_and_a_branch_have_the_bytes_of_the_whole(
    service: Service, image: str, tmp_path: Path, kind: str
) -> None:
    data = clip(tmp_path / "clip.mp4", 160, fps=8, height=128, width=128).read_bytes()
    source = image if kind == "image" else upload(service, data)
    fields = {"num_frames": 160, "seed": None, "model": MODEL, kind: source}
    whole = service.wait_for_success(service.submit(**fields).id)
    job = service.submit(**fields)
    service.wait_for_chunks(job.id, 1)
    service.http.post(f"/jobs/{job.id}/cancel")
    ended = service.wait_for_end(job.id)
    if ended.progress.frames_done < 160:  # else the machine was faster than the cancel
        assert service.http.post(f"/jobs/{job.id}/retry").status_code == 202
        assert hashes(service.wait_for_success(job.id)) == hashes(whole)
    branch = service.http.post(f"/jobs/{whole.id}/branch", json={"from_chunk": 3}).json()["id"]
    assert hashes(service.wait_for_success(branch)) == hashes(whole)


def test_a_zoom_has_one_length(service: Service, image: str) -> None:
    job = service.wait_for_success(service.submit(model=MODEL, seed=None, num_frames=32, image=image).id)
    problem = service.http.post(f"/jobs/{job.id}/extend", json={"num_frames": 16}).json()
    assert (problem["code"], problem["field"]) == ("field_not_supported", "num_frames")
    assert "depend on the length" in problem["detail"]


def test_evaluation_measures_its_video_as_any_other(service: Service, image: str) -> None:
    job = service.wait_for_success(service.submit(model=MODEL, seed=None, image=image, num_frames=32).id)
    frames = frames_of(service.video(job.id))
    assert flow_figures(frames).magnitude >= 0
    assert not can_count_cuts() or count_cuts(frames, 8) == 0


def test_what_the_engine_does_not_take_is_refused_by_name(service: Service, image: str) -> None:
    assert refusal(service, image=image, parameters={"zoom": 9}) == (422, "invalid_field", "parameters.zoom")
    assert refusal(service, image=image, parameters={"speed": 1}) == (422, "invalid_field", "parameters.speed")
    assert refusal(service, image=image, num_inference_steps=8) == (422, "field_not_supported", "num_inference_steps")
    assert refusal(service, image=image, seed=1) == (422, "field_not_supported", "seed")
    assert refusal(service) == (422, "invalid_field", "image")
    assert refusal(service, model="sprites", prompt="a red circle", image=image) == (
        422,
        "field_not_supported",
        "image",
    )
