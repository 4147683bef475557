"""AnimateDiff with FreeNoise on tiny random networks: as the library's pipeline, window after window."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.pipelines.animatediff.pipeline_animatediff import AnimateDiffPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.model.engines.animatediff.definition import ANIMATEDIFF
from core.model.engines.animatediff.engine import AnimateDiffEngine
from core.model.engines.animatediff.loading import load_engine_of
from core.model.engines.animatediff.preset import AnimateDiffPreset
from core.model.pipelines.animatediff import animatediff_parts
from core.service.domain.engine import NO_INPUT_MEDIA, EngineState, ignore_step
from core.service.domain.errors import NotFinite, PresetError
from core.service.domain.schema import PromptChange
from core.service.engines.definition import ENGINES, read_preset
from core.service.engines.load_context import LoadContext
from tests.helpers.animation import SIDE, RecordingPipeline, write_animatediff_preset
from tests.helpers.engine_contract import EngineContract, chunks_of
from tests.helpers.jobs import job_spec
from tests.helpers.poison import INFINITY, NAN, poisoned

CPU = torch.device("cpu")
WINDOW, CONTEXT, STRIDE = 24, 8, 4
OVERLAP = CONTEXT - STRIDE
SPEC = job_spec(
    prompt="a cat", negative_prompt="rain", num_frames=100, seed=7, num_inference_steps=2, guidance_scale=3.0
)
NEAR: dict[str, Any] = {"rtol": 0.0, "atol": 1e-4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_animatediff_preset(tmp_path_factory.mktemp("presets") / "tiny")


@pytest.fixture(scope="module")
def engine(folder: Path) -> AnimateDiffEngine:
    return load_engine_of(context_of(folder), "cpu")


@pytest.fixture(scope="module")
def resuming(folder: Path) -> AnimateDiffEngine:
    return load_engine_of(context_of(folder), "cpu")


@pytest.fixture
def recording(engine: AnimateDiffEngine) -> RecordingPipeline:
    return RecordingPipeline(cast(Any, engine)._pipeline)


def context_of(folder: Path, **changed: Any) -> LoadContext[AnimateDiffPreset]:
    preset = cast(AnimateDiffPreset, read_preset(folder)).model_copy(update=changed)
    return LoadContext(preset, folder, folder, torch_threads=1)


@pytest.fixture(scope="module")
def usual(folder: Path, engine: AnimateDiffEngine) -> RecordingPipeline:
    """Windows at 0, 24, 44 and 64."""
    recording = RecordingPipeline(cast(Any, engine)._pipeline)
    run(watched(recording, folder))
    return recording


def watched(recording: RecordingPipeline, folder: Path) -> AnimateDiffEngine:
    return AnimateDiffEngine(recording, context_of(folder).preset, CPU, "")


def library(folder: Path) -> Any:
    pipeline: Any = AnimateDiffPipeline(**animatediff_parts(context_of(folder), torch.float32))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def arguments(**changed: Any) -> dict[str, Any]:
    """Of the library's pipeline, for SPEC."""
    usual: dict[str, Any] = {
        "prompt": "a cat",
        "negative_prompt": "rain",
        "height": SIDE,
        "width": SIDE,
        "num_inference_steps": 2,
        "guidance_scale": 3.0,
        "output_type": "latent",
    }
    return {**usual, **changed}


def run(engine: AnimateDiffEngine, **changed: Any) -> np.ndarray:
    """All frames of a job of 70 frames, unless told otherwise."""
    spec = SPEC.model_copy(update={"num_frames": 70, **changed})
    return np.concatenate([chunk.frames for chunk in chunks_of(engine, spec, NO_INPUT_MEDIA)])


class TestContract(EngineContract):
    spec = SPEC
    size = (SIDE, SIDE)


def test_the_first_window_is_the_library_s_with_free_noise(folder: Path, recording: RecordingPipeline) -> None:
    pipeline = library(folder)
    pipeline.enable_free_noise(CONTEXT, STRIDE)
    expected = pipeline(**arguments(num_frames=WINDOW, generator=torch.Generator().manual_seed(7))).frames

    run(watched(recording, folder), num_frames=16)

    torch.testing.assert_close(recording.results[0], expected, **NEAR)


def test_a_window_of_one_context_is_the_library_s_without_free_noise(folder: Path) -> None:
    expected = library(folder)(**arguments(num_frames=16, generator=torch.Generator().manual_seed(7))).frames
    engine = load_engine_of(context_of(folder, window_frames=16, context_length=16), "cpu")
    recording = RecordingPipeline(cast(Any, engine)._pipeline)

    run(AnimateDiffEngine(recording, cast(Any, engine)._preset, CPU, ""), num_frames=16)

    torch.testing.assert_close(recording.results[0], expected, **NEAR)


def test_frames_are_the_decoded_latents(engine: AnimateDiffEngine, folder: Path) -> None:
    """What the library shows of the latents that the state keeps."""
    chunk = engine.next_chunk(SPEC, engine.start(SPEC, NO_INPUT_MEDIA), ignore_step)

    latents = torch.from_numpy(chunk.state.arrays["window"]).float().unsqueeze(0)
    pictures: Tensor = library(folder).decode_latents(latents)[0].transpose(0, 1)
    expected = (pictures / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).mul(255).round().byte().detach().numpy()

    assert np.abs(chunk.frames.astype(int) - expected[:16]).max() <= 1


def after_first_window(recording: RecordingPipeline, folder: Path) -> tuple[AnimateDiffEngine, EngineState]:
    engine = watched(recording, folder)
    return engine, engine.next_chunk(SPEC, engine.start(SPEC, NO_INPUT_MEDIA), ignore_step).state


def stored(state: EngineState, name: str) -> Tensor:
    return torch.from_numpy(state.arrays[name]).float()[None]


def noise_onwards(state: EngineState) -> Tensor:
    """Of the repeated and new frames of the next window, by FreeNoise's equation 7."""
    generator = torch.Generator()
    generator.set_state(torch.from_numpy(state.arrays["generator"]))
    noise = torch.cat([stored(state, "past_noise"), torch.zeros(1, 4, WINDOW - OVERLAP, 8, 8)], dim=2)
    for begin in range(CONTEXT, noise.shape[2], STRIDE):
        order = torch.randperm(STRIDE, generator=generator)
        noise[:, :, begin : begin + STRIDE] = noise[:, :, begin - CONTEXT : begin - CONTEXT + STRIDE][:, :, order]
    return noise[:, :, CONTEXT - OVERLAP :]


def free_noise_library(folder: Path) -> Any:
    pipeline = library(folder)
    pipeline.enable_free_noise(CONTEXT, STRIDE)
    return pipeline


def test_the_next_window_is_made_of_library_calls(folder: Path, recording: RecordingPipeline) -> None:
    """Its first frames go from what the network makes of their noise to what the window before made."""
    engine, state = after_first_window(recording, folder)
    past, noise, pipeline = stored(state, "past_latents"), noise_onwards(state), free_noise_library(folder)
    scheduler = pipeline.scheduler

    def hold(_pipeline: Any, step: int, _timestep: Any, changed: dict[str, Any]) -> dict[str, Any]:
        if step == 1:
            changed["latents"][:, :, :OVERLAP] = past
            return changed
        timestep = scheduler.timesteps[1]
        share, noised = scheduler.alphas_cumprod[timestep], scheduler.add_noise(past, noise[:, :, :OVERLAP], timestep)
        changed["latents"][:, :, :OVERLAP] = (1 - share) * changed["latents"][:, :, :OVERLAP] + share * noised
        return changed

    expected = pipeline(**arguments(num_frames=WINDOW, latents=noise, callback_on_step_end=hold)).frames
    engine.next_chunk(SPEC, state, ignore_step)

    torch.testing.assert_close(recording.results[1], expected, **NEAR)


def test_windows_come_near_one_that_is_as_long_as_both(folder: Path, recording: RecordingPipeline) -> None:
    """A tenth of the squared error of a window that has the right noise and knows nothing of the past."""
    engine, state = after_first_window(recording, folder)
    engine.next_chunk(SPEC, state, ignore_step)
    noise, pipeline = noise_onwards(state)[:, :, OVERLAP:], free_noise_library(folder)
    all_noise = torch.cat([recording.calls[0]["latents"], noise], dim=2)

    both = pipeline(**arguments(num_frames=all_noise.shape[2], latents=all_noise)).frames[:, :, WINDOW:]
    alone = pipeline(**arguments(num_frames=noise.shape[2], latents=noise)).frames

    error, error_alone = ((each - both).square().mean() for each in (recording.results[1][:, :, OVERLAP:], alone))
    assert error < error_alone / 10


def test_a_window_begins_with_the_frames_that_the_one_before_ended_with(usual: RecordingPipeline) -> None:
    assert len(usual.results) == 4
    for before, after in zip(usual.results, usual.results[1:], strict=False):
        assert torch.equal(after[:, :, :OVERLAP], before[:, :, -OVERLAP:].half().float())


def noise_of(recording: RecordingPipeline) -> list[Tensor]:
    """Of the new frames of each window."""
    first, *later = [call["latents"] for call in recording.calls]
    return [first, *(latents[:, :, OVERLAP:] for latents in later)]


def frames_like(noise_1CFHW: Tensor, pool_1CFHW: Tensor) -> list[bool]:
    """Whether each frame of noise is one of a pool's, up to the rounding of states."""
    pool = [frame.half() for frame in pool_1CFHW[0].transpose(0, 1)]
    return [any(torch.equal(frame.half(), other) for other in pool) for frame in noise_1CFHW[0].transpose(0, 1)]


def test_all_frames_share_the_noise_of_the_first_context(usual: RecordingPipeline) -> None:
    first, *later = noise_of(usual)
    assert all(all(frames_like(noise, first[:, :, :CONTEXT])) for noise in [first, *later])
    assert not torch.equal(later[0], later[1])


def test_noise_is_drawn_anew_for_each_frame_on_request(folder: Path, recording: RecordingPipeline) -> None:
    run(watched(recording, folder), num_frames=48, parameters={"noise": "random"})

    first, *later = noise_of(recording)
    assert not any(frames_like(first[:, :, CONTEXT:], first[:, :, :CONTEXT]))
    assert not any(any(frames_like(noise, first)) for noise in later)


def test_a_branch_has_new_noise_and_goes_on_from_the_same_frames(folder: Path, recording: RecordingPipeline) -> None:
    watch = watched(recording, folder)
    state = watch.next_chunk(SPEC, watch.start(SPEC, NO_INPUT_MEDIA), ignore_step).state

    watch.next_chunk(SPEC, watch.reseeded(state, 8), ignore_step)

    first, branched = noise_of(recording)
    assert not any(frames_like(branched, first))
    assert torch.equal(recording.results[1][:, :, :OVERLAP], recording.results[0][:, :, -OVERLAP:].half().float())


def test_a_prompt_acts_from_the_next_window_which_goes_over_to_it(
    folder: Path, recording: RecordingPipeline, usual: RecordingPipeline
) -> None:
    run(watched(recording, folder), prompt_changes=(PromptChange(start_frame=30, text="a dog"),))

    going_over = {0: "a cat", OVERLAP - 1: "a cat", WINDOW - 1: "a dog"}
    assert [call["prompt"] for call in recording.calls] == ["a cat", "a cat", going_over, "a dog"]
    same = [torch.equal(*pair) for pair in zip(recording.results, usual.results, strict=True)]
    assert same == [True, True, False, False]


@pytest.mark.parametrize(
    "changed", [{"num_inference_steps": 3}, {"guidance_scale": 9.0}, {"prompt": "a dog"}, {"negative_prompt": ""}]
)
def test_every_field_acts(engine: AnimateDiffEngine, changed: dict[str, Any]) -> None:
    assert run(engine, num_frames=16, **changed).tobytes() != run(engine, num_frames=16).tobytes()


def test_other_sizes_are_made(engine: AnimateDiffEngine) -> None:
    assert run(engine, num_frames=30, height=24, width=40).shape == (30, 24, 40, 3)


@pytest.mark.parametrize("value", [NAN, INFINITY])
@pytest.mark.parametrize(("part", "stage"), [("unet", "window"), ("text_encoder", "window"), ("vae", "decoder")])
def test_one_damaged_weight_fails_the_chunk_by_name(
    engine: AnimateDiffEngine, folder: Path, part: str, stage: str, value: float
) -> None:
    pipeline = cast(Any, engine)._pipeline
    network = pipeline.vae.decoder if part == "vae" else getattr(pipeline, part)
    fresh = AnimateDiffEngine(pipeline, context_of(folder).preset, CPU, "")

    with poisoned(network, value), pytest.raises(NotFinite, match=f"chunk 0, {stage}: "):
        fresh.next_chunk(SPEC, fresh.start(SPEC, NO_INPUT_MEDIA), ignore_step)


def test_the_vae_leaves_a_shared_gpu_after_each_window(folder: Path, recording: RecordingPipeline) -> None:
    """A window is decoded without the pipeline's own end, which would free it."""
    engine = AnimateDiffEngine(recording, context_of(folder).preset, CPU, "")

    engine.next_chunk(SPEC, engine.start(SPEC, NO_INPUT_MEDIA), ignore_step)

    assert recording.num_freed == 1


def test_a_state_that_is_not_finite_is_not_continued(engine: AnimateDiffEngine) -> None:
    state = engine.next_chunk(SPEC, engine.start(SPEC, NO_INPUT_MEDIA), ignore_step).state
    broken = {**state.arrays, "past_latents": np.full_like(state.arrays["past_latents"], NAN)}

    with pytest.raises(NotFinite, match="chunk 1, window: "):
        engine.next_chunk(SPEC, EngineState(16, broken), ignore_step)


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "preset.json").write_text((folder / "preset.json").read_text())

    with pytest.raises(PresetError, match=r"vae is missing"):
        load_engine_of(context_of(tmp_path), "cpu")


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    """Where it were, the library would draw random numbers."""
    folder = write_animatediff_preset(tmp_path / "damaged")
    file = folder / "motion_adapter" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    name = next(iter(tensors))
    save_file({key: tensor for key, tensor in tensors.items() if key != name}, file)

    with pytest.raises(PresetError, match=f"lack 1 tensors, such as {name}"):
        load_engine_of(context_of(folder), "cpu")


def test_a_preset_that_promises_longer_prompts_than_are_read_is_refused(folder: Path) -> None:
    with pytest.raises(PresetError, match="max_prompt_tokens: the text encoder reads 22"):
        load_engine_of(context_of(folder, max_prompt_tokens=23), "cpu")


def test_the_registry_has_it() -> None:
    assert ENGINES.get("animatediff") is ANIMATEDIFF
