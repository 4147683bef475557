"""Windows equal those of diffusers' own pipelines, loaded from the same folder; the engine then rounds to float16."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.cogvideo.pipeline_cogvideox import CogVideoXPipeline
from diffusers.pipelines.cogvideo.pipeline_cogvideox_image2video import CogVideoXImageToVideoPipeline
from diffusers.pipelines.cogvideo.pipeline_cogvideox_video2video import CogVideoXVideoToVideoPipeline
from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler
from diffusers.schedulers.scheduling_dpm_cogvideox import CogVideoXDPMScheduler
from numpy.typing import NDArray
from PIL import Image

from core.model.engines.cogvideox.engine import CogVideoXEngine
from core.model.pipelines.window_engine import WINDOW
from core.model.sampling.noise import seeded
from core.service.domain.engine import NO_INPUT_MEDIA, EngineState, InputMedia, ignore_step
from core.service.domain.schema import JobSpec
from core.service.media.crop import crop_and_resize
from tests.helpers.cogvideox_jobs import NEGATIVE, PICTURE, PROMPT, Frames, chunks, noise, spec_of
from tests.helpers.pipelines_cogvideox import SIDE, TEXT_TOKENS, WINDOW_FRAMES
from tests.unit.core.model.engines.cogvideox.conftest import EngineOf

STEPS = 4


def library(kind: Any, folder: Path, scheduler: Any = CogVideoXDDIMScheduler) -> Any:
    pipeline = kind.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    return pipeline


def latents_of(pipeline: Any, generator: torch.Generator | None = None, **arguments: Any) -> NDArray[np.float32]:
    asked = {"num_inference_steps": STEPS, "guidance_scale": 6.0, "height": SIDE, "width": SIDE}
    texts = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "max_sequence_length": TEXT_TOKENS}
    generator = generator or seeded(7)
    result = pipeline(**{**asked, **texts, **arguments}, generator=generator, output_type="latent")
    return result.frames[0].numpy()


def first_window(engine: CogVideoXEngine, inputs: InputMedia = NO_INPUT_MEDIA, **changes: Any) -> NDArray[np.float16]:
    spec = spec_of(num_inference_steps=STEPS, **changes)
    return next(chunks(engine, spec, inputs)).state.arrays[WINDOW]


def assert_equal(ours: NDArray[np.float16], theirs: NDArray[np.float32]) -> None:
    assert theirs.std() > 0.1
    np.testing.assert_array_equal(ours, theirs.astype(np.float16))


@pytest.mark.parametrize("guidance_scale", [6.0, 1.0])
def test_text_to_video_is_the_library_s(folders: dict[str, Path], engine_of: EngineOf, guidance_scale: float) -> None:
    theirs = latents_of(
        library(CogVideoXPipeline, folders["text"]), num_frames=WINDOW_FRAMES, guidance_scale=guidance_scale
    )

    assert_equal(first_window(engine_of("text"), guidance_scale=guidance_scale), theirs)


def test_text_to_video_with_the_5b_models_positions_sampler_and_guidance(
    folders: dict[str, Path], engine_of: EngineOf
) -> None:
    engine = engine_of("rotary", scheduler="dpm", use_dynamic_cfg=True)
    pipeline = library(CogVideoXPipeline, folders["rotary"], CogVideoXDPMScheduler)

    theirs = latents_of(pipeline, num_frames=WINDOW_FRAMES, use_dynamic_cfg=True)

    assert_equal(first_window(engine), theirs)


@pytest.mark.parametrize("strength", [0.8, 0.3, 1.0])
def test_video_to_video_is_the_library_s(folders: dict[str, Path], engine_of: EngineOf, strength: float) -> None:
    video = noise(40)
    pictures = [Image.fromarray(frame) for frame in video[:WINDOW_FRAMES]]
    theirs = latents_of(library(CogVideoXVideoToVideoPipeline, folders["text"]), video=pictures, strength=strength)

    ours = first_window(engine_of("text"), InputMedia(video=Frames(video)), parameters={"strength": strength})

    assert_equal(ours, theirs)


def test_image_to_video_is_the_library_s_of_the_fitted_picture(folders: dict[str, Path], engine_of: EngineOf) -> None:
    assert PICTURE.image is not None
    fitted = crop_and_resize(Image.fromarray(PICTURE.image), SIDE, SIDE)
    pipeline = library(CogVideoXImageToVideoPipeline, folders["image"])

    theirs = latents_of(pipeline, image=Image.fromarray(fitted), num_frames=WINDOW_FRAMES)

    assert_equal(first_window(engine_of("image"), PICTURE), theirs)


def test_a_later_window_is_the_library_s_image_to_video_of_the_last_decoded_frame(
    folders: dict[str, Path], engine_of: EngineOf
) -> None:
    engine, spec = engine_of("image"), spec_of(num_inference_steps=STEPS)
    first, second = chunks(engine, spec, PICTURE)
    pipeline, generator = library(CogVideoXImageToVideoPipeline, folders["image"]), seeded(spec.seed)
    assert PICTURE.image is not None
    fitted = Image.fromarray(crop_and_resize(Image.fromarray(PICTURE.image), SIDE, SIDE))
    latents_of(pipeline, generator, image=fitted, num_frames=WINDOW_FRAMES)
    last = decoded_by(pipeline, first.state.arrays[WINDOW])[-1]

    theirs = latents_of(pipeline, generator, image=last, num_frames=WINDOW_FRAMES)

    assert_equal(second.state.arrays[WINDOW], theirs)
    # Frame 0 of the second window repeats the last of the first one, and is left out.
    frames = [np.asarray(frame) for frame in decoded_by(pipeline, second.state.arrays[WINDOW])]
    np.testing.assert_allclose(second.frames[1:], frames[1:16], atol=1)
    np.testing.assert_allclose(second.frames[0], np.asarray(last), atol=1)


def decoded_by(pipeline: Any, latents: NDArray[np.float16]) -> list[Image.Image]:
    with torch.no_grad():
        video = pipeline.decode_latents(torch.from_numpy(latents).float()[None])
    pictures: list[Image.Image] = pipeline.video_processor.postprocess_video(video, output_type="pil")[0]
    return pictures


def held(engine: CogVideoXEngine, spec: JobSpec, inputs: InputMedia = NO_INPUT_MEDIA) -> tuple[Any, Any]:
    """First latents of the second window, and the encoding of the frames that it repeats."""
    first, second = list(chunks(engine, spec, inputs))[:2]
    past = first.state.arrays[WINDOW]
    pipeline: Any = engine._pipelines.video  # pyright: ignore[reportPrivateUsage] - the test looks inside
    with torch.no_grad():
        frames = [np.asarray(frame) for frame in decoded_by(pipeline, past)[-9:]]
        video = pipeline.video_processor.preprocess_video([Image.fromarray(frame) for frame in frames], SIDE, SIDE)
        encoded = pipeline.vae.encode(video).latent_dist.mode() * pipeline.vae.config.scaling_factor
    return second.state.arrays[WINDOW], encoded[0].transpose(0, 1).numpy().astype(np.float16)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_an_overlapping_window_begins_with_the_last_frames(engine_of: EngineOf, strength: float) -> None:
    engine = engine_of("text", continuation_strength=strength)

    window, past = held(engine, spec_of(num_frames=25))

    np.testing.assert_array_equal(window[:3], past)
    assert not np.isclose(window[3], past[2], atol=0.05).all()


def test_a_later_window_of_a_repainted_video_begins_with_its_own_past(engine_of: EngineOf) -> None:
    inputs = InputMedia(video=Frames(noise(25)))

    window, past = held(engine_of("text"), spec_of(num_frames=25), inputs)

    np.testing.assert_array_equal(window[:3], past)


def test_a_repainted_video_follows_the_input_in_every_window(engine_of: EngineOf) -> None:
    """With other frames in the input's second half, the second window differs, and the first does not."""
    engine, spec, video = engine_of("text"), spec_of(num_frames=25), noise(25)
    other = np.concatenate([video[:17], 255 - video[17:]])

    ours = [chunk.frames for chunk in chunks(engine, spec, InputMedia(video=Frames(video)))]
    theirs = [chunk.frames for chunk in chunks(engine, spec, InputMedia(video=Frames(other)))]

    np.testing.assert_array_equal(ours[0], theirs[0])
    assert (ours[1] != theirs[1]).any()


def test_one_step_is_done_at_least(engine_of: EngineOf) -> None:
    seen = list[tuple[int, int]]()
    spec = spec_of(num_inference_steps=3, parameters={"strength": 0.01}, num_frames=16)
    inputs = InputMedia(video=Frames(noise(16)))
    engine = engine_of("text")

    engine.next_chunk(spec, engine.start(spec, inputs), lambda step, steps: seen.append((step, steps)), inputs)

    assert seen == [(0, 1)]


def test_waiting_frames_are_decoded_from_the_state(engine_of: EngineOf) -> None:
    engine, spec = engine_of("text"), spec_of(num_frames=17)
    first = engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), ignore_step)
    again = engine_of("text").next_chunk(spec, EngineState.from_bytes(first.state.to_bytes()), ignore_step)

    assert again.frames.shape == (1, SIDE, SIDE, 3)
