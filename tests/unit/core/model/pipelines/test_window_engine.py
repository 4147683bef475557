"""The loop over windows, with windows of numbers in place of networks: any length, any number in a chunk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.model.pipelines.window_engine import Arrays, Window, WindowEngine, WindowRequest
from core.service.domain.engine import NO_INPUT_MEDIA, Engine, EngineState, InputMedia, OnStep, ignore_step
from core.service.domain.errors import NotFinite
from core.service.domain.schema import JobSpec
from core.service.engines.capabilities import WindowLengths
from tests.helpers.engine_contract import EngineContract, chunks_of
from tests.helpers.jobs import job_spec

STEPS = 3


class Numbers(WindowEngine):
    """Each frame is one grey: its index in the video plus what the seed drew, in eight bits."""

    def __init__(self, first: int, later: int, scale: float = 1.0) -> None:
        super().__init__(torch.device("cpu"), "numbers", WindowLengths(first=first, later=later))
        self._scale = scale
        self.requests: list[WindowRequest] = []

    def start_arrays(self, spec: JobSpec, inputs: InputMedia) -> Arrays:
        del spec, inputs
        return {"begun": np.zeros(1, np.int64)}

    def make_window(self, request: WindowRequest, on_step: OnStep) -> Window:
        for step in range(STEPS):
            on_step(step, STEPS)
        self.requests.append(request)
        drawn = int(torch.randint(0, 50, (1,), generator=request.generator))
        new = self.num_new_frames(request.first_frame)
        past = 2 if request.first_frame else 0
        latents = np.arange(request.first_frame - past, request.first_frame + new, dtype=np.float16)
        return Window(latents + np.float16(drawn), {"begun": request.arrays["begun"] + 1}, new)

    def decode(self, spec: JobSpec, latents: NDArray[Any]) -> Tensor:
        del spec
        return (torch.from_numpy(latents.copy()).float() * self._scale / 255).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)


@pytest.fixture(scope="module", params=[(16, 16), (64, 52), (14, 13), (49, 48), (5, 3), (16, 15)])
def engine(request: pytest.FixtureRequest) -> Engine:
    return Numbers(*request.param)


class TestContract(EngineContract):
    spec = job_spec(num_frames=100)
    size = (4, 4)


def test_frames_follow_one_another_over_windows_and_chunks() -> None:
    """The draws differ by window: what counts are the frames' indices."""
    engine = Numbers(14, 13)
    chunks = list(chunks_of(engine, job_spec(num_frames=60), NO_INPUT_MEDIA))
    greys = np.concatenate([chunk.frames for chunk in chunks])[:, 0, 0, 0].astype(int)

    begins = [request.first_frame for request in engine.requests]

    assert begins == [0, 14, 27, 40, 53]
    for begin, end in zip(begins, [*begins[1:], 60], strict=True):
        assert list(greys[begin:end] - greys[begin]) == list(range(end - begin))


def test_a_window_is_made_from_what_the_one_before_left_and_knows_its_chunk() -> None:
    engine = Numbers(14, 13)

    list(chunks_of(engine, job_spec(num_frames=48), NO_INPUT_MEDIA))

    assert [int(request.arrays["begun"][0]) for request in engine.requests] == [0, 1, 2, 3]
    assert [request.name for request in engine.requests] == ["chunk 0", "chunk 0", "chunk 1", "chunk 2"]


def test_latents_leave_the_state_when_all_their_frames_are_delivered() -> None:
    engine, spec = Numbers(16, 16), job_spec(num_frames=48)

    chunk = engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), ignore_step)

    assert set(chunk.state.arrays) == {"begun", "generator"}


def test_a_picture_that_is_not_finite_fails_the_chunk() -> None:
    engine, spec = Numbers(16, 16, scale=float("nan")), job_spec(num_frames=32)

    with pytest.raises(NotFinite, match="chunk 0, decoder"):
        engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), ignore_step)


def test_time_is_told_by_phase() -> None:
    engine, spec = Numbers(16, 16), job_spec(num_frames=32)

    chunk = engine.next_chunk(spec, EngineState(0, engine.start(spec, NO_INPUT_MEDIA).arrays), ignore_step)

    assert set(chunk.timings) == {"prepare", "denoise", "decode"}
