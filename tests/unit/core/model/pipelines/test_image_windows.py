"""Windows that begin with a frame, on a small SVD: images of any size, other sizes, first frames from the prompt."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import StableVideoDiffusionPipeline

from core.model.engines.svd.engine import SvdEngine
from core.model.engines.svd.loading import load_engine_of, multiple_of
from core.model.pipelines.image_model import load_image_model
from core.model.pipelines.image_video_loading import load_image_video_model
from core.model.pipelines.image_windows import CONDITIONING
from core.model.pipelines.loading import Placement
from core.model.sampling.pictures import as_picture, crop_and_resize
from core.model.sampling.vae import to_uint8
from core.service.domain.engine import NO_INPUT_MEDIA, EngineChunk, InputMedia, ignore_step
from core.service.domain.errors import Interrupted, NotFinite, PresetError
from core.service.domain.schema import JobSpec
from tests.helpers.engine_contract import StopAt, chunks_of, steps_of
from tests.helpers.image_model import QuickImageGenerator
from tests.helpers.image_video import INPUTS, SIZE, context_of, image_job
from tests.helpers.poison import NAN, poisoned

# diffusers' Euler scheduler gives numpy a tensor in a way that numpy 2 wants done otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CPU = Placement(torch.device("cpu"))
KIND = (StableVideoDiffusionPipeline, multiple_of)
QUICK = {"num_inference_steps": 1}


@pytest.fixture(scope="module")
def engine(svd: Path) -> SvdEngine:
    return load_engine_of(context_of(svd))


@pytest.fixture(scope="module")
def painting(svd: Path, sdxl: Path) -> SvdEngine:
    """An engine with an image model, which takes two steps."""
    generator = QuickImageGenerator(lambda: load_image_model(str(sdxl), CPU), 2)
    return SvdEngine(replace(load_image_video_model(context_of(svd), *KIND), image_generator=generator))


def first_chunk(engine: SvdEngine, spec: JobSpec, inputs: InputMedia = NO_INPUT_MEDIA) -> EngineChunk:
    return engine.next_chunk(spec, engine.start(spec, inputs), ignore_step, inputs)


@pytest.mark.parametrize("shape", [(16, 24), (7, 300), (300, 7), (1, 1), (99, 101)], ids=str)
def test_an_image_of_any_size_is_fitted_as_pictures_are(engine: SvdEngine, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)

    state = engine.start(image_job(), InputMedia(image=image))

    assert np.array_equal(state.arrays[CONDITIONING], to_uint8(crop_and_resize(as_picture(image), *SIZE))[0])


def test_a_job_has_its_own_size(engine: SvdEngine) -> None:
    spec = image_job(height=24, width=16, **QUICK)

    chunk = first_chunk(engine, spec, INPUTS)

    assert chunk.frames.shape == (16, 24, 16, 3)
    assert chunk.state.arrays[CONDITIONING].shape == (24, 16, 3)


def test_memory_is_flat_over_20_chunks(engine: SvdEngine) -> None:
    """From the fourth on, when as many windows are kept as ever are."""
    chunks = chunks_of(engine, image_job(num_frames=320, **QUICK), INPUTS)
    first = [len(next(chunks).state.to_bytes()) for _ in range(4)]
    tensors = bytes_of_tensors()

    later = [len(chunk.state.to_bytes()) for chunk in chunks]

    assert len(later) == 16
    assert max(later) <= max(first)
    assert bytes_of_tensors() <= tensors


def bytes_of_tensors() -> int:
    """Of all that live in this process."""
    gc.collect()
    return sum(one.nbytes for one in gc.get_objects() if type(one) is torch.Tensor)


def test_without_an_image_the_first_frame_is_made_from_the_prompt(painting: SvdEngine) -> None:
    frames = first_chunk(painting, image_job(**QUICK)).frames

    assert np.array_equal(first_chunk(painting, image_job(**QUICK)).frames, frames)
    assert not np.array_equal(first_chunk(painting, image_job(prompt="a dog", **QUICK)).frames, frames)
    assert not np.array_equal(first_chunk(painting, image_job(negative_prompt="rain", **QUICK)).frames, frames)
    assert not np.array_equal(first_chunk(painting, image_job(seed=8, **QUICK)).frames, frames)


def test_the_image_model_plays_no_part_where_there_is_an_image(engine: SvdEngine, painting: SvdEngine) -> None:
    spec = image_job(**QUICK)

    assert np.array_equal(first_chunk(painting, spec, INPUTS).frames, first_chunk(engine, spec, INPUTS).frames)


def test_steps_of_the_image_come_before_those_of_its_window(painting: SvdEngine) -> None:
    """Two steps of the image and one of the first window, which has no more than 14 frames; then one more window."""
    spec = image_job(**QUICK)

    seen = steps_of(painting, spec, painting.start(spec, NO_INPUT_MEDIA), NO_INPUT_MEDIA)

    assert [step / steps for step, steps in seen] == sorted(step / steps for step, steps in seen)
    assert len(seen) == 4
    assert all(step < steps for step, steps in seen)


def test_a_cancel_while_the_image_is_made_leaves_the_engine_as_it_was(painting: SvdEngine) -> None:
    spec = image_job(**QUICK)
    before = first_chunk(painting, spec).frames

    with pytest.raises(Interrupted):
        painting.next_chunk(spec, painting.start(spec, NO_INPUT_MEDIA), StopAt(1))

    assert np.array_equal(first_chunk(painting, spec).frames, before)


def test_a_job_without_an_image_needs_an_image_model(engine: SvdEngine) -> None:
    with pytest.raises(PresetError, match="no image model is configured"):
        first_chunk(engine, image_job())


def test_one_damaged_weight_of_the_image_model_fails_the_first_chunk(painting: SvdEngine) -> None:
    generator: Any = painting._image_generator  # pyright: ignore[reportPrivateUsage] - the networks inside

    with poisoned(generator._pipeline.unet, NAN), pytest.raises(NotFinite, match="chunk 0, image from the prompt"):
        first_chunk(painting, image_job(**QUICK))


def test_weights_that_are_moved_within_a_chunk_as_offloading_does_stay_as_they_are(engine: SvdEngine) -> None:
    unet, spec = engine.pipeline.unet, image_job(**QUICK)

    def move(_step: int, _steps: int) -> None:
        unet.to(torch.float64).to(torch.float32)

    moved = engine.next_chunk(spec, engine.start(spec, INPUTS), move)

    assert np.array_equal(moved.frames, first_chunk(engine, spec, INPUTS).frames)
    assert not any(weight.is_inference() for weight in unet.parameters())
