"""The engine `i2vgen_xl` on small random networks: the library's own windows, one after the other."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.deprecated.i2vgen_xl.pipeline_i2vgen_xl import I2VGenXLPipeline
from PIL import Image

from core.model.engines.i2vgen_xl.engine import I2vgenXlEngine
from core.model.engines.i2vgen_xl.loading import load_engine_of, multiple_of
from core.model.pipelines.image_video_loading import load_image_video_model
from core.model.pipelines.image_windows import CONDITIONING
from core.model.pipelines.window_engine import WINDOW
from core.service.domain.engine import EngineState, FramesTHWC, ignore_step
from core.service.domain.errors import Interrupted, NotFinite
from core.service.domain.schema import JobSpec, PromptChange
from tests.helpers.engine_contract import EngineContract, StopAt, chunks_of, frames_of
from tests.helpers.image_video import INPUTS, SIZE, context_of, image_job, write_preset
from tests.helpers.pipelines import write_i2vgen_xl
from tests.helpers.poison import NAN, poisoned

WINDOW_FRAMES = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    presets = tmp_path_factory.mktemp("presets")
    return write_preset(presets / "toy-i2v", "i2vgen_xl", write_i2vgen_xl, window_frames=WINDOW_FRAMES)


@pytest.fixture(scope="module")
def engine(folder: Path) -> I2vgenXlEngine:
    return load_engine_of(context_of(folder))


@pytest.fixture(scope="module")
def resuming(folder: Path) -> I2vgenXlEngine:
    return load_engine_of(context_of(folder))


class TestContract(EngineContract):
    spec = image_job()
    inputs = INPUTS
    size = SIZE


def test_windows_are_the_library_s_each_from_the_last_frame_of_the_one_before(
    folder: Path, engine: I2vgenXlEngine
) -> None:
    """The library draws the image's latents from torch's global generator, and we all from one."""
    spec = image_job(num_frames=32, negative_prompt="rain")
    chunks = list(chunks_of(engine, spec, INPUTS))
    library = the_library(folder)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        first = decoded(library, called(library, engine.start(spec, INPUTS).arrays[CONDITIONING], spec))
        second = decoded(library, called(library, first[-1], spec))
        third = called(library, second[-1], spec)

    assert np.array_equal(frames_of(chunks)[:31], np.concatenate([first, second[1:]]))
    newest = chunks[-1].state.arrays[WINDOW].astype(np.float32)
    assert np.abs(newest - third.half().float().numpy()[0]).max() < 1e-4


def the_library(folder: Path) -> Any:
    """The pipeline, which finds its text encoder's norm where it was in transformers 4."""
    kind: Any = I2VGenXLPipeline
    pipeline = kind.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    encoder = pipeline.text_encoder
    object.__setattr__(encoder, "text_model", SimpleNamespace(final_layer_norm=encoder.final_layer_norm))
    return pipeline


def called(pipeline: Any, frame: np.ndarray[Any, Any], spec: JobSpec) -> torch.Tensor:
    """Latents [1, C, F, H, W] of the library's own call."""
    return pipeline(
        spec.prompt,
        Image.fromarray(frame),
        height=SIZE[0],
        width=SIZE[1],
        target_fps=7,
        num_frames=WINDOW_FRAMES,
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        negative_prompt=spec.negative_prompt,
        output_type="latent",
    ).frames


@torch.no_grad()
def decoded(pipeline: Any, latents: torch.Tensor) -> FramesTHWC:
    """Frames of latents as the state keeps them."""
    pictures = pipeline.decode_latents(latents.half().float(), decode_chunk_size=4)[0]
    return (pictures / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()


@pytest.mark.parametrize(
    "changed",
    [{"prompt": "a dog"}, {"negative_prompt": "rain"}, {"num_inference_steps": 3}, {"guidance_scale": 9.0}],
    ids=str,
)
def test_every_field_acts(engine: I2vgenXlEngine, changed: dict[str, Any]) -> None:
    assert not np.array_equal(first_chunk(engine, image_job(**changed)), first_chunk(engine, image_job()))


def first_chunk(engine: I2vgenXlEngine, spec: JobSpec) -> FramesTHWC:
    return engine.next_chunk(spec, engine.start(spec, INPUTS), ignore_step).frames


def test_a_new_prompt_acts_from_the_first_window_that_begins_at_it_or_later(engine: I2vgenXlEngine) -> None:
    """Windows begin at the frames 0, 16, 31 and 46: a prompt from frame 20 on acts at 31."""
    spec = image_job(num_frames=48)
    changed = image_job(num_frames=48, prompt_changes=(PromptChange(start_frame=20, text="a dog"),))

    before, after = (frames_of(list(chunks_of(engine, job, INPUTS))) for job in (spec, changed))

    assert np.array_equal(before[:31], after[:31])
    assert not np.array_equal(before[31], after[31])


def test_torch_s_global_generator_plays_no_part(engine: I2vgenXlEngine) -> None:
    before = torch.get_rng_state()

    first = first_chunk(engine, image_job())
    untouched = torch.equal(torch.get_rng_state(), before)
    torch.rand(5)

    assert untouched
    assert np.array_equal(first_chunk(engine, image_job()), first)


def test_an_interrupted_window_leaves_the_autoencoder_as_it_was(engine: I2vgenXlEngine) -> None:
    with pytest.raises(Interrupted):
        engine.next_chunk(image_job(), engine.start(image_job(), INPUTS), StopAt(1))

    assert "encode" not in vars(engine.pipeline.vae)


@pytest.mark.parametrize(
    ("part", "stage"), [("unet", "window"), ("text_encoder", "window"), ("vae.decoder", "decoder")]
)
def test_one_damaged_weight_fails_the_chunk_with_its_name(engine: I2vgenXlEngine, part: str, stage: str) -> None:
    network = engine.pipeline
    for name in part.split("."):
        network = getattr(network, name)
    state = engine.next_chunk(image_job(), engine.start(image_job(), INPUTS), ignore_step).state

    with poisoned(network, NAN), pytest.raises(NotFinite, match=f"chunk 1, {stage}: numbers that are not"):
        engine.next_chunk(image_job(), state, ignore_step)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_networks_compute_in_half_precision(folder: Path, dtype: torch.dtype) -> None:
    """As on a GPU, but for its speed."""
    model = load_image_video_model(context_of(folder), I2VGenXLPipeline, multiple_of)
    model.pipeline.to(dtype)
    engine, spec = I2vgenXlEngine(model), image_job(num_inference_steps=1)

    chunks = [chunk for _, chunk in zip(range(2), chunks_of(engine, spec, INPUTS), strict=False)]

    assert chunks[1].frames.std() > 1
    assert model.pipeline.vae.dtype == dtype
    again = engine.next_chunk(spec, EngineState.from_bytes(chunks[0].state.to_bytes()), ignore_step)
    assert np.array_equal(again.frames, chunks[1].frames)
