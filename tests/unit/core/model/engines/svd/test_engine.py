"""The engine `svd` on small random networks: the library's own windows, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import StableVideoDiffusionPipeline
from PIL import Image

from core.model.engines.svd.engine import SvdEngine
from core.model.engines.svd.loading import load_engine_of, multiple_of
from core.model.pipelines.image_video_loading import load_image_video_model
from core.model.pipelines.image_windows import CONDITIONING
from core.model.pipelines.window_engine import WINDOW
from core.model.sampling.noise import seeded
from core.service.domain.engine import EngineState, FramesTHWC, ignore_step
from core.service.domain.errors import NotFinite
from core.service.domain.schema import JobSpec
from tests.helpers.engine_contract import EngineContract, chunks_of
from tests.helpers.image_video import INPUTS, SIZE, context_of, image_job, write_preset
from tests.helpers.pipelines import write_svd
from tests.helpers.poison import INFINITY, NAN, poisoned

# diffusers' Euler scheduler gives numpy a tensor in a way that numpy 2 wants done otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset(tmp_path_factory.mktemp("presets") / "toy-svd", "svd", write_svd)


@pytest.fixture(scope="module")
def engine(folder: Path) -> SvdEngine:
    return load_engine_of(context_of(folder))


@pytest.fixture(scope="module")
def resuming(folder: Path) -> SvdEngine:
    return load_engine_of(context_of(folder))


@pytest.fixture(scope="module")
def wide(folder: Path) -> SvdEngine:
    """Windows longer than a chunk, as SVD-XT's."""
    return load_engine_of(context_of(folder, window_frames=25))


class TestContract(EngineContract):
    spec = image_job()
    inputs = INPUTS
    size = SIZE


@pytest.mark.parametrize("window_frames", [14, 25])
def test_windows_are_the_library_s_the_second_from_the_last_frame_of_the_first(
    folder: Path, engine: SvdEngine, wide: SvdEngine, window_frames: int
) -> None:
    engine = engine if window_frames == 14 else wide
    spec = image_job(num_frames=2 * window_frames)
    start = engine.start(spec, INPUTS)
    chunks = list(chunks_of(engine, spec, INPUTS))
    library, generator = the_library(folder), seeded(spec.seed)

    first = called(library, start.arrays[CONDITIONING], spec, window_frames, generator)
    frames = decoded(library, first)
    second = called(library, frames[-1], spec, window_frames, generator)

    made = np.concatenate([chunk.frames for chunk in chunks])
    assert np.array_equal(made[:window_frames], frames)
    assert np.array_equal(made[window_frames : 2 * window_frames - 1], decoded(library, second)[1:])
    newest = next(chunk for chunk in chunks if chunk.state.frames_done > window_frames).state
    assert np.abs(newest.arrays[WINDOW].astype(np.float32) - second.half().float().numpy()[0]).max() < 1e-4


def the_library(folder: Path) -> Any:
    kind: Any = StableVideoDiffusionPipeline
    pipeline = kind.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def called(
    pipeline: Any, frame: np.ndarray[Any, Any], spec: JobSpec, window_frames: int, generator: torch.Generator
) -> torch.Tensor:
    """Latents [1, F, C, H, W] of the library's own call, with its defaults."""
    return pipeline(
        Image.fromarray(frame),
        height=SIZE[0],
        width=SIZE[1],
        num_frames=window_frames,
        num_inference_steps=spec.num_inference_steps,
        generator=generator,
        output_type="latent",
    ).frames


@torch.no_grad()
def decoded(pipeline: Any, latents: torch.Tensor) -> FramesTHWC:
    """Frames of latents as the state keeps them."""
    pictures = pipeline.decode_latents(latents.half().float(), latents.shape[1], 4)[0]
    return (pictures / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()


@pytest.mark.parametrize(
    "changed",
    [
        {"num_inference_steps": 3},
        {"guidance_scale": 9.0},
        {"parameters": {"motion_bucket_id": 255}},
        {"parameters": {"noise_aug_strength": 0.5}},
    ],
    ids=str,
)
def test_every_field_acts(engine: SvdEngine, changed: dict[str, Any]) -> None:
    assert not np.array_equal(first_chunk(engine, image_job(**changed)), first_chunk(engine, image_job()))


def test_the_rate_that_the_network_is_told_is_the_preset_s(folder: Path, engine: SvdEngine) -> None:
    faster = load_engine_of(context_of(folder, conditioning_fps=30))

    assert not np.array_equal(first_chunk(faster, image_job()), first_chunk(engine, image_job()))
    assert np.array_equal(first_chunk(engine, image_job(fps=30)), first_chunk(engine, image_job()))


def test_guidance_rises_over_the_frames_of_a_window(wide: SvdEngine) -> None:
    """With one step nothing but guidance differs: the first frame has 1 in both windows, the last one 1.5 and 9."""
    low, high = (
        latents_of_first_window(wide, image_job(num_inference_steps=1, guidance_scale=scale)) for scale in (1.5, 9.0)
    )
    differences = np.abs(low - high).mean(axis=(1, 2, 3))

    assert differences[0] < 0.01 * differences[-1]
    assert (np.diff(differences) > 0).mean() > 0.8


def latents_of_first_window(wide: SvdEngine, spec: JobSpec) -> np.ndarray[Any, Any]:
    """[F, C, H, W]."""
    chunk = wide.next_chunk(spec, wide.start(spec, INPUTS), ignore_step)
    return chunk.state.arrays[WINDOW].astype(np.float32)


def first_chunk(engine: SvdEngine, spec: JobSpec) -> FramesTHWC:
    return engine.next_chunk(spec, engine.start(spec, INPUTS), ignore_step).frames


@pytest.mark.parametrize("value", [NAN, INFINITY])
@pytest.mark.parametrize(
    ("part", "stage"), [("unet", "window"), ("image_encoder", "window"), ("vae.decoder", "decoder")]
)
def test_one_damaged_weight_fails_the_chunk_with_its_name(folder: Path, part: str, stage: str, value: float) -> None:
    engine = load_engine_of(context_of(folder))
    network = engine.pipeline
    for name in part.split("."):
        network = getattr(network, name)
    state = engine.next_chunk(image_job(), engine.start(image_job(), INPUTS), ignore_step).state

    with poisoned(network, value), pytest.raises(NotFinite, match=f"chunk 1, {stage}: numbers that are not"):
        engine.next_chunk(image_job(), state, ignore_step)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_networks_compute_in_half_precision(folder: Path, dtype: torch.dtype) -> None:
    """As on a GPU, but for its speed."""
    model = load_image_video_model(context_of(folder), StableVideoDiffusionPipeline, multiple_of)
    model.pipeline.to(dtype)
    engine, spec = SvdEngine(model), image_job(num_inference_steps=1)

    chunks = [chunk for _, chunk in zip(range(2), chunks_of(engine, spec, INPUTS), strict=False)]

    assert chunks[1].frames.std() > 1
    assert model.pipeline.vae.dtype == dtype
    again = engine.next_chunk(spec, EngineState.from_bytes(chunks[0].state.to_bytes()), ignore_step)
    assert np.array_equal(again.frames, chunks[1].frames)
