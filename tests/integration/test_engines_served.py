"""Every engine through the whole service: odd lengths, a kill -9 in the midst of a job, a cancel, refused fields.

One service for all, with small random weights; the workers of the engines follow one another.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from core.service.admission.catalog import Catalog
from core.service.domain.schema import Job, JobStatus
from tests.helpers.clips import clip, picture
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import FullJob, Service, running_service
from tests.helpers.uploads import upload
from tests.helpers.video import probe

SHORT, LONG = 17, 100
MANY_STEPS = 200
"""Of a job that is cancelled: it cannot end before."""


@dataclass(frozen=True)
class Case:
    """A model, a request that it takes, and one that it does not."""

    model: str
    fields: dict[str, Any] = field(default_factory=lambda: {})
    """Beside prompt, seed and length. "IMAGE" and "VIDEO" stand for uploads."""
    refused: tuple[str, object] = ("profile", "fast")
    """A field that the engine has not, and a value."""

    def submit(self, service: Service, media: dict[str, str], **more: Any) -> Job:
        return service.submit(model=self.model, **{**_with_uploads(self.fields, media), **more})


CASES = [Case("drawn", {"image": "IMAGE"}, ("control", {"type": "canny", "video": "VIDEO"}))]


def _with_uploads(fields: dict[str, Any], media: dict[str, str]) -> dict[str, Any]:
    """The fields with the ids of uploads."""

    def put(value: Any) -> Any:
        return {key: put(inner) for key, inner in value.items()} if isinstance(value, dict) else media.get(value, value)

    return {name: put(value) for name, value in fields.items()}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("engines")
    write_fake_preset(folder / "presets", "drawn", step_seconds=0.02, accepts_image=True)
    limits = {"max_inference_steps": MANY_STEPS}
    with running_service(folder, folder / "presets", default_model="drawn", **limits) as service:
        service.start_worker("cpu", wait=False)
        yield service


@pytest.fixture(scope="module")
def media(service: Service, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The ids of uploads by the names that cases give them."""
    video = clip(tmp_path_factory.mktemp("clip") / "clip.mp4", LONG, fps=8, height=64, width=64)
    image = upload(service, picture((200, 100, 50), size=(96, 64)), "image/png")
    return {"IMAGE": image, "VIDEO": upload(service, video.read_bytes())}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.model)
def case(request: pytest.FixtureRequest, service: Service) -> Iterator[Case]:
    """A case whose worker runs."""
    chosen: Case = request.param
    worker = service.start_worker("generate", chosen.model)
    yield chosen
    service.stop(worker)


def hashes(job: FullJob) -> list[str]:
    return [chunk.sha256 for chunk in job.chunks]


def test_a_worker_killed_in_the_midst_of_100_frames_changes_no_byte(
    case: Case, service: Service, media: dict[str, str]
) -> None:
    whole = service.wait_for_success(case.submit(service, media, num_frames=LONG).id)
    assert [chunk.num_frames for chunk in whole.chunks] == [16] * 6 + [4]
    job = case.submit(service, media, num_frames=LONG)
    service.wait_for_chunks(job.id, 1)
    pid = service.worker_pid(case.model, "generate")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert not service.job(job.id).status.is_terminal

    resumed = service.wait_for_success(job.id)

    assert hashes(resumed) == hashes(whole)
    assert service.video(job.id) == service.video(whole.id)


def test_a_cancelled_job_ends_in_a_chunk_and_the_next_one_of_17_frames_is_made(
    case: Case, service: Service, media: dict[str, str]
) -> None:
    job = case.submit(service, media, num_frames=LONG, num_inference_steps=MANY_STEPS)
    next_one = case.submit(service, media, num_frames=SHORT)
    eventually(lambda: service.job(job.id).progress.step >= 1, "a step")
    assert service.http.post(f"/jobs/{job.id}/cancel").status_code == 202
    ended = service.wait_for_end(job.id)
    short = service.wait_for_success(next_one.id)

    assert (ended.status, ended.progress.frames_done < LONG) == (JobStatus.CANCELED, True)
    assert [chunk.num_frames for chunk in short.chunks] == [16, 1]
    preset, found = Catalog(service.settings).get(case.model).preset, probe(service.video(short.id))
    assert (found.num_frames, found.width, found.height) == (SHORT, preset.width, preset.height)


def test_what_the_engine_has_not_is_refused_by_name(case: Case, service: Service, media: dict[str, str]) -> None:
    name, value = case.refused
    fields = _with_uploads({**case.fields, name: value}, media)
    response = service.http.post("/jobs", json={"prompt": "a red square", "model": case.model, **fields})

    problem = response.json()
    assert (response.status_code, problem["code"], problem["field"]) == (422, "field_not_supported", name)
