"""The editing engine makes what the library's pipeline makes, chunk by chunk, from the request and its video alone."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from core.model.engines.instruct_pix2pix.engine import InstructPix2PixEngine
from core.model.sampling.noise import seeded
from core.service.domain.engine import EngineChunk, FramesTHWC, InputMedia, ignore_step
from core.service.domain.errors import Interrupted
from core.service.domain.schema import JobSpec, PromptChange
from tests.helpers.engine_contract import EngineContract, chunks_of, frames_of
from tests.helpers.pipelines_instruct_pix2pix import SIDE, FramesReader, noise_video
from tests.unit.core.model.engines.instruct_pix2pix.conftest import edit_spec

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' Euler


class TestContract(EngineContract):
    spec = edit_spec(100, 1.0)
    inputs = InputMedia(video=noise_video(400))
    size = (SIDE, SIDE)


def chunks(engine: InstructPix2PixEngine, spec: JobSpec, video: FramesReader | None = None) -> list[EngineChunk]:
    """All chunks."""
    return list(chunks_of(engine, spec, InputMedia(video=video or noise_video(spec.length))))


def theirs(library: Any, spec: JobSpec, frames: FramesTHWC, **more: Any) -> Tensor:
    """Latents from one call of the library's pipeline; all frames have the same noise."""
    return library(
        prompt=[spec.prompt] * len(frames),
        negative_prompt=[spec.negative_prompt] * len(frames),
        image=torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255.0,
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        image_guidance_scale=spec.parameters["image_guidance_scale"],
        generator=[seeded(spec.seed) for _ in frames],
        output_type="latent",
        **more,
    ).images


def decoded_latents(engine: InstructPix2PixEngine, spec: JobSpec, video: FramesReader) -> list[Tensor]:
    """What the decoder reads of each chunk, scaled as the library's latents."""
    seen, vae = list[Tensor](), cast(Any, engine)._models.vae

    def see(_layer: Any, inputs: tuple[Tensor], _made: Any) -> None:
        seen.append(inputs[0])

    hook = vae.post_quant_conv.register_forward_hook(see)
    try:
        chunks(engine, spec, video)
    finally:
        hook.remove()
    return [latents * vae.config.scaling_factor for latents in seen]


@pytest.mark.parametrize("image_guidance_scale", [1.5, 1.0])
def test_both_kinds_of_chunk_equal_the_librarys_pipeline(
    engine: InstructPix2PixEngine, library: Any, image_guidance_scale: float
) -> None:
    """A later chunk equals a call for frame 0 and its own frames."""
    spec, video = edit_spec(36, image_guidance_scale, num_inference_steps=4), noise_video(36)
    frames = video.read(0, 36)

    made = decoded_latents(engine, spec, video)

    assert [len(latents) for latents in made] == [16, 16, 4]
    expected = [
        theirs(library, spec, frames[:16]),
        theirs(library, spec, frames[[0, *range(16, 32)]])[1:],
        theirs(library, spec, frames[[0, *range(32, 36)]])[1:],
    ]
    for ours, its in zip(made, expected, strict=True):
        torch.testing.assert_close(ours, its, rtol=0, atol=1e-4)


def test_frame_0_is_edited_alike_in_every_chunk(engine: InstructPix2PixEngine, library: Any) -> None:
    spec, frames = edit_spec(32), noise_video(32).read(0, 32)

    alone = theirs(library, spec, frames[:1])
    later = theirs(library, spec, frames[[0, *range(16, 32)]])
    (first, _) = decoded_latents(engine, spec, noise_video(32))

    torch.testing.assert_close(later[:1], alone, rtol=0, atol=1e-4)
    torch.testing.assert_close(first[:1], alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("text_scale", [1.0, 7.5])
@pytest.mark.parametrize("image_scale", [0.0, 1.0, 7.5, 10.0])
def test_guidance_works_at_its_bounds(engine: InstructPix2PixEngine, text_scale: float, image_scale: float) -> None:
    """The library leaves all guidance out where one of the two is off; here each acts by itself."""
    calls = list[int]()

    def count(*_: Any) -> None:
        calls.append(1)

    hook = cast(Any, engine)._models.unet.register_forward_hook(count)
    try:
        (made,) = chunks(engine, edit_spec(16, image_scale, guidance_scale=text_scale, num_inference_steps=1))
    finally:
        hook.remove()

    assert made.frames.shape == (16, 16, 16, 3)
    assert len(calls) == 3 - (image_scale == 1.0) - (image_scale == text_scale)


def test_frames_do_not_depend_on_the_length(engine: InstructPix2PixEngine) -> None:
    """Of a longer video the last chunk is computed in whole."""
    video = noise_video(32)

    assert frames_of(chunks(engine, edit_spec(20), video)).tobytes() == (
        frames_of(chunks(engine, edit_spec(32), video))[:20].tobytes()
    )


def test_frames_that_are_alike_are_edited_alike_in_all_chunks(engine: InstructPix2PixEngine) -> None:
    still = FramesReader(np.repeat(noise_video(1).read(0, 1), 40, axis=0))

    edited = frames_of(chunks(engine, edit_spec(40, num_inference_steps=4), still)).astype(int)

    assert abs(edited - edited[:1]).max() <= 1
    assert edited.std() > 1


def test_a_chunk_reads_its_frames_and_the_first_only(engine: InstructPix2PixEngine) -> None:
    video = noise_video(36)

    chunks(engine, edit_spec(36, num_inference_steps=1), video)

    assert sorted(video.reads) == [(0, 1), (0, 1), (0, 16), (16, 16), (32, 4)]


def test_a_video_of_another_size_is_edited_at_its_size(engine: InstructPix2PixEngine) -> None:
    """The prepare lane has fitted it to the size of the request."""
    (made,) = chunks(engine, edit_spec(16, num_inference_steps=1), noise_video(16, 24, 32))

    assert made.frames.shape == (16, 24, 32, 3)


def test_instruction_negative_prompt_and_seed_act(engine: InstructPix2PixEngine) -> None:
    def edited(**changes: Any) -> bytes:
        return frames_of(chunks(engine, edit_spec(16, **changes))).tobytes()

    usual = edited()

    assert edited(prompt="make it red") != usual
    assert edited(negative_prompt="") != usual
    assert edited(seed=8) != usual
    assert edited() == usual


def test_another_seed_acts_from_its_chunk_on_and_keeps_frame_0(engine: InstructPix2PixEngine) -> None:
    spec, inputs = edit_spec(32), InputMedia(video=noise_video(32))
    first, second = chunks(engine, spec)

    other = engine.next_chunk(spec, engine.reseeded(first.state, 8), ignore_step, inputs)
    same = engine.next_chunk(spec, engine.reseeded(first.state, spec.seed), ignore_step, inputs)

    assert other.frames.tobytes() != second.frames.tobytes()
    assert same.frames.tobytes() == second.frames.tobytes()


def test_a_chunk_goes_over_to_a_new_instruction_frame_by_frame(engine: InstructPix2PixEngine) -> None:
    """It begins near the old one and ends at the new one, which the chunk after it has alone."""
    change = (PromptChange(start_frame=10, text="make it red"),)
    old, new = edit_spec(48), edit_spec(48, prompt="make it red")

    made = chunks(engine, edit_spec(48, prompt_changes=change))
    before, after = chunks(engine, old), chunks(engine, new)

    assert made[0].frames.tobytes() == before[0].frames.tobytes()
    assert made[1].frames[-1].tobytes() == after[1].frames[-1].tobytes()
    assert made[1].frames[0].tobytes() != after[1].frames[0].tobytes()
    assert made[2].frames.tobytes() == after[2].frames.tobytes()


def test_what_the_reader_raises_is_let_through(engine: InstructPix2PixEngine) -> None:
    class Damaged(FramesReader):
        def read(self, start: int, count: int) -> FramesTHWC:
            raise Interrupted(f"the piece of {count} frames at {start} is damaged")

    inputs = InputMedia(video=Damaged(noise_video(16).read(0, 16)))
    spec = edit_spec(16)

    with pytest.raises(Interrupted, match="16 frames at 0 is damaged"):
        engine.next_chunk(spec, engine.start(spec, inputs), ignore_step, inputs)


def test_without_a_video_there_is_nothing_to_edit(engine: InstructPix2PixEngine) -> None:
    spec = edit_spec(16)

    with pytest.raises(ValueError, match="no input video"):
        engine.next_chunk(spec, engine.start(spec, InputMedia()), ignore_step)
