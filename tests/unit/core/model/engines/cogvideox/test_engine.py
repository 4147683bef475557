"""The chunk loop of CogVideoX: any length, resumed and cancelled jobs, prompts, seeds, sizes, memory."""

import gc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from core.model.engines.cogvideox.engine import CogVideoXEngine
from core.service.domain.engine import NO_INPUT_MEDIA, InputMedia, ignore_step
from core.service.domain.errors import Interrupted
from core.service.domain.schema import PromptChange
from tests.helpers.cogvideox_jobs import PICTURE, Frames, chunks, frames_of, noise, spec_of, stored
from tests.helpers.pipelines_cogvideox import SIDE
from tests.unit.core.model.engines.cogvideox.conftest import EngineOf

KINDS: dict[str, tuple[str, Callable[[int], InputMedia]]] = {
    "text": ("text", lambda _frames: NO_INPUT_MEDIA),
    "whole video": ("text", lambda frames: InputMedia(video=Frames(noise(frames)))),
    "image": ("image", lambda _frames: PICTURE),
    "end of a video": ("image", lambda _frames: InputMedia(frames=noise(16))),
}


LONG = {"text": {"window_frames": 33}, "whole video": {"window_frames": 33}}
"""Windows with 24 new frames, for speed. The image model has positions for 17."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("num_frames", [17, 100])
def test_any_length(engine_of: EngineOf, kind: str, num_frames: int) -> None:
    name, inputs = KINDS[kind]
    spec = spec_of(num_frames=num_frames, num_inference_steps=1, guidance_scale=1.0)

    frames = frames_of(engine_of(name, **LONG.get(kind, {})), spec, inputs(num_frames))

    assert frames.shape == (num_frames, SIDE, SIDE, 3)
    assert frames.std() > 1


def test_a_chunk_is_the_same_in_another_worker(engine_of: EngineOf, kind: str) -> None:
    name, inputs = KINDS[kind]
    spec, media = spec_of(num_frames=40), inputs(40)
    whole = list(chunks(engine_of(name), spec, media))

    for before, after in pairwise(whole):
        again = engine_of(name).next_chunk(spec, stored(before.state), ignore_step, media)
        assert again.frames.tobytes() == after.frames.tobytes()
        assert again.state.to_bytes() == after.state.to_bytes()


def test_a_job_is_cancelled_within_a_step(engine_of: EngineOf, kind: str) -> None:
    name, inputs = KINDS[kind]
    engine, spec, media = engine_of(name), spec_of(num_frames=32, num_inference_steps=3), inputs(32)
    expected = list(chunks(engine, spec, media))
    seen = list[int]()

    def cancel(step: int, steps: int) -> None:
        del steps
        seen.append(step)
        if step == 1:
            raise Interrupted("canceled")

    with pytest.raises(Interrupted):
        engine.next_chunk(spec, expected[0].state, cancel, media)

    assert seen == [0, 1]
    again = engine.next_chunk(spec, expected[0].state, ignore_step, media)
    assert again.frames.tobytes() == expected[1].frames.tobytes()


def test_the_first_chunk_of_a_continued_video_is_its_end(engine_of: EngineOf) -> None:
    given, steps = noise(16), list[int]()
    engine, spec = engine_of("image"), spec_of()

    chunk = engine.next_chunk(
        spec, engine.start(spec, InputMedia(frames=given)), lambda step, _steps: steps.append(step), NO_INPUT_MEDIA
    )

    assert chunk.frames.tobytes() == given.tobytes()
    assert steps == []
    assert chunk.state.arrays["picture"].tobytes() == given[-1].tobytes()


def test_the_input_s_last_frame_stands_still_behind_its_end(engine_of: EngineOf) -> None:
    """A window is always whole: of 17 frames of input only 16 are asked for."""
    engine, video = engine_of("text"), noise(16)
    longer = np.concatenate([video, video[-1:]])

    ours = frames_of(engine, spec_of(num_frames=16), InputMedia(video=Frames(video)))
    theirs = frames_of(engine, spec_of(num_frames=16), InputMedia(video=Frames(longer)))

    assert ours.tobytes() == theirs.tobytes()


def test_frames_do_not_depend_on_the_length(engine_of: EngineOf) -> None:
    engine = engine_of("text")
    short = frames_of(engine, spec_of(num_frames=32))
    long = frames_of(engine, spec_of(num_frames=48))

    assert short.tobytes() == long[:32].tobytes()


def test_a_later_prompt_acts_from_the_first_window_that_begins_behind_it(engine_of: EngineOf) -> None:
    """Windows begin at frames 0, 17 and 25."""
    engine = engine_of("text")
    changed = spec_of(num_frames=33, prompt_changes=(PromptChange(start_frame=18, text="a green circle"),))

    before, after = frames_of(engine, spec_of(num_frames=33)), frames_of(engine, changed)

    assert before[:25].tobytes() == after[:25].tobytes()
    assert (before[25:] != after[25:]).any()


def test_another_seed_changes_later_windows_only(engine_of: EngineOf) -> None:
    engine, spec = engine_of("text"), spec_of()
    first, second = chunks(engine, spec)

    other = engine.next_chunk(spec, engine.reseeded(first.state, 8), ignore_step)

    assert other.frames[0].tobytes() == second.frames[0].tobytes()  # the last frame of the first window
    assert (other.frames[1:] != second.frames[1:]).any()


def test_a_request_s_size_is_made(engine_of: EngineOf) -> None:
    spec = spec_of(num_frames=17, height=48, width=16, num_inference_steps=1)

    assert frames_of(engine_of("text"), spec).shape == (17, 48, 16, 3)


def test_negative_prompt_and_guidance_act(engine_of: EngineOf) -> None:
    engine = engine_of("text")
    specs = [spec_of(num_frames=16, **change) for change in ({}, {"negative_prompt": "green"}, {"guidance_scale": 2.0})]

    assert len({frames_of(engine, spec).tobytes() for spec in specs}) == 3


def test_an_image_model_without_an_image_is_refused(engine_of: EngineOf) -> None:
    with pytest.raises(ValueError, match="needs an image"):
        engine_of("image").start(spec_of(), NO_INPUT_MEDIA)


@pytest.mark.parametrize("kind", ["text", "image"], indirect=True)
def test_memory_is_flat_over_20_chunks(engine_of: EngineOf, kind: str) -> None:
    """The state keeps its size, and no more tensors live after 20 chunks than after 8, when all caches are full."""
    spec = spec_of(num_frames=20 * 16, num_inference_steps=1, guidance_scale=1.0)
    if kind == "text":
        spec = spec.model_copy(update={"height": 16, "width": 16})
    sizes, tensors = list[int](), list[int]()

    for index, chunk in enumerate(chunks(engine_of(kind, **LONG.get(kind, {})), spec, PICTURE)):
        sizes.append(len(chunk.state.to_bytes()))
        if index in {7, 19}:
            tensors.append(_tensors())

    assert len(sizes) == 20
    assert len(set(sizes[1:])) == 1
    assert tensors[1] <= tensors[0]


def _tensors() -> int:
    gc.collect()
    return sum(type(found) is torch.Tensor for found in gc.get_objects())


def test_frames_larger_than_the_vae_s_own_are_made_in_tiles(engine_of: EngineOf) -> None:
    """Of 96 x 80 pixels; `vae_tiling` asks for tiles of half that from there down, too."""
    vae: Any = _vae(engine := engine_of("text", vae_tiling=False))
    spec = spec_of(num_frames=16, num_inference_steps=1, guidance_scale=1.0)

    frames_of(engine, spec.model_copy(update={"height": 96, "width": 16}))
    assert not vae.use_tiling
    frames_of(engine, spec.model_copy(update={"height": 16, "width": 96}))
    assert vae.use_tiling
    frames_of(engine, spec.model_copy(update={"height": 16, "width": 16}))
    assert not vae.use_tiling


def test_tiles_change_the_frames_a_little(engine_of: EngineOf) -> None:
    spec = spec_of(num_frames=16, num_inference_steps=1, guidance_scale=1.0, height=64, width=64)
    tiled, whole = (frames_of(engine_of("text", vae_tiling=tiling), spec) for tiling in (True, False))

    assert 0 < np.abs(tiled.astype(float) - whole).mean() < 20


def _vae(engine: CogVideoXEngine) -> Any:
    return engine._pipelines.main.vae  # pyright: ignore[reportPrivateUsage] - the test looks inside


def test_weights_that_are_moved_within_a_chunk_as_offloading_does_can_be_moved_again_outside(
    engine_of: EngineOf,
) -> None:
    engine: Any = engine_of("text")
    layer, spec = engine._pipelines.main.transformer.proj_out, spec_of(num_frames=16)

    def move(_step: int, _steps: int) -> None:
        layer.to(torch.float64).to(torch.float32)

    engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), move)

    assert not any(weight.is_inference() for weight in layer.parameters())
