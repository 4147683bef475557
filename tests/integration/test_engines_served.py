"""Every engine through the whole service: odd lengths, a cancel, refused fields, and a kill -9 in the midst of a job.

One service for all, with small random weights that were pulled; the workers of the models follow one another.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from core.service.admission.catalog import Catalog
from core.service.domain.schema import Job, JobStatus
from tests.helpers.clips import clip, picture
from tests.helpers.deadline import eventually
from tests.helpers.hub_presets import TinyModel, pull_all, shipped_content, write_hub_preset
from tests.helpers.hub_server import running_hub
from tests.helpers.service import FullJob, Service, running_service
from tests.helpers.tiny_models import TINY_MODELS
from tests.helpers.uploads import upload
from tests.helpers.video import probe

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' Euler
SHORT, LONG = 17, 68
MEDIA = frozenset({"image", "video", "control"})
"""A request has one of them."""
KILLED = ("animatediff", "svd", "text2video-zero")
"""Models whose worker is killed: one of text, one of an image, one of a video. That an engine goes on from the bytes
of a state is part of tests/helpers/engine_contract.py; cogvideox and streaming_t2v have tests of their own for it."""
SLOW_STEPS = 6
"""Of a job whose worker is killed between its first chunk and its last: three times as many as usual."""
MANY_STEPS = 200
"""Of a job that is cancelled: it cannot end before."""


@dataclass(frozen=True)
class Served:
    """A model whose worker runs."""

    service: Service
    name: str
    model: TinyModel
    media: dict[str, str]
    """Ids of uploads by the names that fields have for them."""

    def fields(self, **more: Any) -> dict[str, Any]:
        return {"model": self.name, **_with_uploads({**self.model.fields, **more}, self.media)}

    def submit(self, **more: Any) -> Job:
        return self.service.submit(**self.fields(**more))

    @property
    def own_length(self) -> dict[str, int]:
        """Fields for LONG frames; none where that is the length of the input, which nobody knows before it is read."""
        takes = Catalog(self.service.settings).get(self.name).preset.capabilities
        follows = {"video", "control"} & self.model.fields.keys()
        return {} if takes.length_of_input and follows else {"num_frames": LONG}

    def refusal(self, **more: Any) -> tuple[int, str, str]:
        """Status, code and field of a refused request with one field more."""
        request = {"prompt": "a red square", **self.fields(**more)}
        others = MEDIA - more.keys() if MEDIA & more.keys() else frozenset[str]()
        given = {name: value for name, value in request.items() if value is not None and name not in others}
        response = self.service.http.post("/jobs", json=given)
        problem = response.json()
        return response.status_code, problem["code"], problem["errors"][0]["field"]


def one_of_each_engine() -> list[str]:
    """The first preset of each engine; KILLED come first, so that both lists of parameters have them at one place."""
    names = {shipped_content(name)["engine"]: name for name in sorted(TINY_MODELS, reverse=True)}
    return [*KILLED, *sorted({*names.values()} - {*KILLED})]


def _with_uploads(value: Any, media: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _with_uploads(inner, media) for key, inner in value.items()}
    return media.get(value, value) if isinstance(value, str) else value


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """All models are installed; no worker runs but that of the CPU tasks."""
    folder = tmp_path_factory.mktemp("engines")
    models = {name: TINY_MODELS[name] for name in one_of_each_engine()}
    for name, model in models.items():
        write_hub_preset(folder / "presets", name, model)
    chosen = {"weights_dir": folder / "weights", "max_inference_steps": MANY_STEPS}
    with running_service(folder, folder / "presets", default_model=next(iter(models)), **chosen) as service:
        with running_hub() as hub:
            pull_all(hub, Catalog(service.settings), models, folder / "repositories")
        service.start_worker("cpu")
        yield service


@pytest.fixture(scope="module")
def media(service: Service, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    video = clip(tmp_path_factory.mktemp("clip") / "clip.mp4", LONG, fps=8, height=64, width=64)
    image = upload(service, picture((200, 100, 50), size=(96, 64)), "image/png")
    return {"IMAGE": image, "VIDEO": upload(service, video.read_bytes())}


@pytest.fixture(scope="module", params=one_of_each_engine())
def served(request: pytest.FixtureRequest, service: Service, media: dict[str, str]) -> Iterator[Served]:
    worker = service.start_worker("generate", request.param)
    yield Served(service, request.param, TINY_MODELS[request.param], media)
    service.stop(worker)


def hashes(job: FullJob) -> list[str]:
    return [chunk.sha256 for chunk in job.chunks]


@pytest.mark.parametrize("served", KILLED, indirect=True)
def test_a_worker_killed_in_the_midst_of_a_job_changes_no_byte(served: Served) -> None:
    service = served.service
    whole = service.wait_for_success(served.submit(num_frames=LONG, num_inference_steps=SLOW_STEPS).id)
    assert [chunk.num_frames for chunk in whole.chunks] == [16] * 4 + [4]
    job = served.submit(num_inference_steps=SLOW_STEPS, **served.own_length)
    service.wait_for_chunks(job.id, 1)
    pid = service.worker_pid(served.name, "generate")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert not service.job(job.id).status.is_terminal

    resumed = service.wait_for_success(job.id)

    assert hashes(resumed) == hashes(whole)
    assert service.video(job.id) == service.video(whole.id)


def test_a_cancelled_job_ends_in_its_chunk_and_the_next_one_of_17_frames_is_made(served: Served) -> None:
    service = served.service
    job = served.submit(num_frames=LONG, num_inference_steps=MANY_STEPS)
    next_one = served.submit(num_frames=SHORT)
    eventually(lambda: service.job(job.id).progress.step >= 1, "a step")
    assert service.http.post(f"/jobs/{job.id}/cancel").status_code == 202
    ended = service.wait_for_end(job.id)
    short = service.wait_for_success(next_one.id)

    assert (ended.status, ended.progress.frames_done < LONG) == (JobStatus.CANCELED, True)
    assert [chunk.num_frames for chunk in short.chunks] == [16, 1]
    preset, found = Catalog(service.settings).get(served.name).preset, probe(service.video(short.id))
    assert (found.num_frames, found.width, found.height) == (SHORT, preset.width, preset.height)


def test_fields_that_the_engine_has_not_are_refused_by_name(served: Served) -> None:
    folder = Catalog(served.service.settings).get(served.name)
    takes, parameters = folder.preset.capabilities, folder.engine.parameters.model_fields
    values = {
        "profile": "fast",
        "first_chunk": {"num_inference_steps": 2},
        "refine": True,
        **({} if takes.control else {"control": {"type": "canny", "video": "VIDEO"}}),
        **({} if takes.image else {"image": "IMAGE"}),
        **({} if takes.video != "no" else {"video": "VIDEO"}),
    }
    refused = {name: served.refusal(**{name: value}) for name, value in values.items()}
    assert refused == {name: (422, "field_not_supported", name) for name in values}
    unknown = ("invalid_field", "parameters.speed") if parameters else ("field_not_supported", "parameters")
    assert served.refusal(parameters={"speed": 1}) == (422, *unknown)
