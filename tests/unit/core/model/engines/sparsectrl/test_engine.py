"""SparseCtrl on tiny random networks: as the library's pipelines, each window from the last frame of the one before."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models.controlnets.controlnet_sparsectrl import SparseControlNetModel
from diffusers.pipelines.animatediff.pipeline_animatediff import AnimateDiffPipeline
from diffusers.pipelines.animatediff.pipeline_animatediff_sparsectrl import AnimateDiffSparseControlNetPipeline
from PIL import Image

from core.model.engines.sparsectrl.definition import SPARSECTRL
from core.model.engines.sparsectrl.engine import SparseCtrlEngine
from core.model.engines.sparsectrl.loading import load_engine_of
from core.model.engines.sparsectrl.preset import SparseCtrlPreset
from core.model.pipelines.animatediff import animatediff_parts
from core.service.domain.engine import NO_INPUT_MEDIA, EngineState, InputMedia, ignore_step
from core.service.domain.errors import NotFinite, PresetError
from core.service.domain.schema import PromptChange
from core.service.engines.definition import ENGINES, read_preset
from core.service.engines.load_context import LoadContext
from tests.helpers.animation import SIDE, RecordingPipeline, write_sparsectrl_preset
from tests.helpers.engine_contract import EngineContract, chunks_of
from tests.helpers.jobs import job_spec
from tests.helpers.poison import INFINITY, NAN, poisoned

CPU = torch.device("cpu")
WINDOW = 16
SPEC = job_spec(
    prompt="a cat", negative_prompt="rain", num_frames=100, seed=7, num_inference_steps=2, guidance_scale=3.0
)
PICTURE = InputMedia(image=np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8))
NEAR: dict[str, Any] = {"rtol": 0.0, "atol": 1e-4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sparsectrl_preset(tmp_path_factory.mktemp("presets") / "tiny")


@pytest.fixture(scope="module")
def engine(folder: Path) -> SparseCtrlEngine:
    return load_engine_of(context_of(folder), "cpu")


@pytest.fixture(scope="module")
def resuming(folder: Path) -> SparseCtrlEngine:
    return load_engine_of(context_of(folder), "cpu")


@pytest.fixture
def recording(engine: SparseCtrlEngine) -> RecordingPipeline:
    return RecordingPipeline(cast(Any, engine)._pipeline)


def context_of(folder: Path) -> LoadContext[SparseCtrlPreset]:
    return LoadContext(cast(SparseCtrlPreset, read_preset(folder)), folder, folder, torch_threads=1)


def watched(recording: RecordingPipeline, folder: Path) -> SparseCtrlEngine:
    return SparseCtrlEngine(recording, context_of(folder).preset, CPU, "")


def run(engine: SparseCtrlEngine, inputs: InputMedia = NO_INPUT_MEDIA, **changed: Any) -> np.ndarray:
    """All frames of a job of 40 frames, unless told otherwise: windows at 0, 16 and 31."""
    spec = SPEC.model_copy(update={"num_frames": 40, **changed})
    return np.concatenate([chunk.frames for chunk in chunks_of(engine, spec, inputs)])


def arguments(**changed: Any) -> dict[str, Any]:
    """Of the library's pipelines, for SPEC."""
    usual: dict[str, Any] = {
        "prompt": "a cat",
        "negative_prompt": "rain",
        "height": SIDE,
        "width": SIDE,
        "num_frames": WINDOW,
        "num_inference_steps": 2,
        "guidance_scale": 3.0,
        "generator": torch.Generator().manual_seed(7),
        "output_type": "latent",
    }
    return {**usual, **changed}


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@contextmanager
def without_variance(vae: Any) -> Generator[None]:
    """The posterior of an encoder is its mean, whatever is drawn."""
    weight, bias = vae.quant_conv.weight, vae.quant_conv.bias
    before = weight.detach().clone(), bias.detach().clone()
    with torch.no_grad():
        weight[4:], bias[4:] = 0, -60
    yield
    with torch.no_grad():
        weight.copy_(before[0])
        bias.copy_(before[1])


class TestContract(EngineContract):
    spec = SPEC
    size = (SIDE, SIDE)


def test_the_first_window_from_text_is_animatediff_s(folder: Path, recording: RecordingPipeline) -> None:
    pipeline = quiet(AnimateDiffPipeline(**animatediff_parts(context_of(folder), torch.float32)))

    run(watched(recording, folder), num_frames=16)

    torch.testing.assert_close(recording.results[0], pipeline(**arguments()).frames, **NEAR)


def test_the_first_window_from_an_image_is_the_library_s(folder: Path, recording: RecordingPipeline) -> None:
    """The library draws a sample of the image's latents from a generator of its own; ours is the mean."""
    control = SparseControlNetModel.from_pretrained(folder / "controlnet" / "rgb")
    parts = animatediff_parts(context_of(folder), torch.float32)
    pipeline = quiet(cast(Any, AnimateDiffSparseControlNetPipeline)(**parts, controlnet=control))
    assert PICTURE.image is not None
    with without_variance(pipeline.vae):
        given = {"conditioning_frames": [Image.fromarray(PICTURE.image)], "controlnet_frame_indices": [0]}
        expected = pipeline(**arguments(**given, controlnet_conditioning_scale=0.7)).frames

    run(watched(recording, folder), PICTURE, num_frames=16, parameters={"conditioning_scale": 0.7})

    torch.testing.assert_close(recording.results[0], expected, **NEAR)


def test_a_window_is_conditioned_on_the_last_frame_of_the_one_before(
    folder: Path, recording: RecordingPipeline
) -> None:
    run(watched(recording, folder))

    conditions = [call["conditioning_frames"] for call in recording.calls]
    assert [call["controlnet_conditioning_scale"] for call in recording.calls] == [0.0, 1.0, 1.0]
    assert {tuple(call["controlnet_frame_indices"]) for call in recording.calls} == {(0,)}
    for before, condition in zip(recording.results, conditions[1:], strict=False):
        assert torch.equal(condition, before[:, :, -1:].half().float())


def test_the_repeated_frame_is_not_shown_again(folder: Path, recording: RecordingPipeline) -> None:
    """Frames 16 to 30 are the second window's but for its first."""
    watch = watched(recording, folder)
    frames = run(watch)

    latents = recording.results[1][0, :, 1:].half().numpy()
    pictures = watch.decode(SPEC, latents).detach().permute(0, 2, 3, 1).mul(255).round().byte().numpy()
    assert np.abs(frames[16:31].astype(int) - pictures).max() <= 1


def test_a_later_window_draws_noise_of_its_own(folder: Path, recording: RecordingPipeline) -> None:
    run(watched(recording, folder))

    assert not torch.allclose(recording.results[1], recording.results[2], atol=0.1)


def test_a_prompt_acts_from_the_first_window_that_begins_there_or_later(
    folder: Path, recording: RecordingPipeline
) -> None:
    run(watched(recording, folder), prompt_changes=(PromptChange(start_frame=17, text="a dog"),))

    assert [call["prompt"] for call in recording.calls] == ["a cat", "a cat", "a dog"]


@pytest.mark.parametrize(
    "changed",
    [
        {"num_inference_steps": 3},
        {"guidance_scale": 9.0},
        {"prompt": "a dog"},
        {"negative_prompt": ""},
        {"parameters": {"conditioning_scale": 0.5}},
    ],
)
def test_every_field_acts(engine: SparseCtrlEngine, changed: dict[str, Any]) -> None:
    assert run(engine, PICTURE, num_frames=16, **changed).tobytes() != run(engine, PICTURE, num_frames=16).tobytes()


def test_a_video_from_an_image_is_resumed_with_the_same_bytes(engine: SparseCtrlEngine) -> None:
    start = EngineState.from_bytes(engine.start(SPEC, PICTURE).to_bytes())
    first = engine.next_chunk(SPEC, start, ignore_step)
    rest = engine.next_chunk(SPEC, EngineState.from_bytes(first.state.to_bytes()), ignore_step)

    frames = np.concatenate([first.frames, rest.frames])
    assert frames.tobytes() == run(engine, PICTURE, num_frames=32).tobytes()


def test_another_image_makes_another_video(engine: SparseCtrlEngine) -> None:
    assert PICTURE.image is not None
    other = InputMedia(image=255 - PICTURE.image)

    assert run(engine, other, num_frames=16).tobytes() != run(engine, PICTURE, num_frames=16).tobytes()


def test_other_sizes_are_made_and_an_image_is_fitted(engine: SparseCtrlEngine) -> None:
    large = InputMedia(image=np.zeros((50, 31, 3), np.uint8))

    assert run(engine, large, num_frames=20, height=24, width=40).shape == (20, 24, 40, 3)


@pytest.mark.parametrize("value", [NAN, INFINITY])
@pytest.mark.parametrize(("part", "stage"), [("unet", "window"), ("controlnet", "window"), ("vae", "decoder")])
def test_one_damaged_weight_fails_the_chunk_by_name(
    engine: SparseCtrlEngine, folder: Path, part: str, stage: str, value: float
) -> None:
    pipeline = cast(Any, engine)._pipeline
    network = pipeline.vae.decoder if part == "vae" else getattr(pipeline, part)
    fresh = SparseCtrlEngine(pipeline, context_of(folder).preset, CPU, "")
    state = fresh.start(SPEC, PICTURE)

    with poisoned(network, value), pytest.raises(NotFinite, match=f"chunk 0, {stage}: "):
        fresh.next_chunk(SPEC, state, ignore_step)


def test_an_image_that_cannot_be_encoded_fails_by_name(engine: SparseCtrlEngine) -> None:
    with (
        poisoned(cast(Any, engine)._pipeline.vae.encoder, NAN),
        pytest.raises(NotFinite, match="the image, encoder: "),
    ):
        engine.start(SPEC, PICTURE)


def test_the_vae_leaves_a_shared_gpu_after_each_use(folder: Path, recording: RecordingPipeline) -> None:
    """An image is encoded, and a window decoded, without the pipeline's own end, which would free it."""
    engine = watched(recording, folder)

    state = engine.start(SPEC, PICTURE)
    assert recording.num_freed == 1
    engine.next_chunk(SPEC, state, ignore_step, PICTURE)
    assert recording.num_freed == 2


def test_an_image_is_encoded_so_that_moved_weights_can_be_moved_again_outside(engine: SparseCtrlEngine) -> None:
    modes, vae = list[bool](), cast(Any, engine)._pipeline.vae

    def see(*_: object) -> None:
        modes.append(torch.is_inference_mode_enabled())

    hook = vae.encoder.register_forward_hook(see)
    try:
        engine.start(SPEC, PICTURE)
    finally:
        hook.remove()

    assert modes == [False]


def test_a_state_that_is_not_finite_is_not_continued(engine: SparseCtrlEngine) -> None:
    state = engine.next_chunk(SPEC, engine.start(SPEC, NO_INPUT_MEDIA), ignore_step).state
    broken = {**state.arrays, "condition": np.full_like(state.arrays["condition"], NAN)}

    with pytest.raises(NotFinite, match="chunk 1, window: "):
        engine.next_chunk(SPEC, EngineState(16, broken), ignore_step)


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "preset.json").write_text((folder / "preset.json").read_text())

    with pytest.raises(PresetError, match=r"controlnet/rgb is missing"):
        load_engine_of(context_of(tmp_path), "cpu")


def test_a_controlnet_of_sketches_is_refused(tmp_path: Path) -> None:
    folder = write_sparsectrl_preset(tmp_path / "sketches")
    SparseControlNetModel(
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        layers_per_block=1,
        norm_num_groups=2,
        cross_attention_dim=8,
        attention_head_dim=4,
        motion_num_attention_heads=2,
        use_simplified_condition_embedding=False,
    ).save_pretrained(folder / "controlnet" / "rgb")

    with pytest.raises(PresetError, match="not SparseCtrl's for RGB"):
        load_engine_of(context_of(folder), "cpu")


def test_the_registry_has_it() -> None:
    assert ENGINES.get("sparsectrl") is SPARSECTRL
