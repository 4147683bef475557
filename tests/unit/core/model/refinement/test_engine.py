"""The refiner as an engine: every length, both schedules, the same bytes from any worker."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor

from core.model.networks.base_network import UntouchedBase
from core.model.refinement.engine import RefinerConfig, RefinerModels, WindowRefiner
from core.model.refinement.schedule import vid2vid_sigmas
from core.model.refinement.unet import with_vid2vid_resampling
from core.model.refinement.windows import refine_streaming as refine_in_streaming
from core.service.domain.engine import FramesTHWC, ignore_step
from core.service.domain.errors import Interrupted, NotFinite
from core.service.domain.frame_plan import published_by, refinement_windows
from core.service.domain.refiner import RefineEngine, RefineState
from core.service.domain.schema import JobSpec, PromptChange, RefineSchedule, RefineSpec
from tests.helpers.jobs import job_spec
from tests.helpers.poison import INFINITY, NAN, poisoned

REFINED = RefineSpec(strength=0.6, num_inference_steps=2, guidance_scale=3.0, height=64, width=64, schedule="streaming")


def encode_texts(texts: list[str]) -> Tensor:
    """States that differ with the text."""
    return torch.stack([torch.full((3, 8), float(len(text))) for text in texts])


LAWS = RefinerConfig(vid2vid_sigmas(), "v_prediction", 0.2, vid2vid_resampling=True, windows_per_batch=2)


@pytest.fixture(scope="module")
def models() -> RefinerModels:
    torch.manual_seed(0)
    unet = UNet3DConditionModel(
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=8,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),  # pyright: ignore[reportArgumentType] - annotated as one element
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType] - as above
        up_block_types=("UpDecoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType] - as above
    )
    return RefinerModels(UntouchedBase(with_vid2vid_resampling(unet).eval()), vae.eval(), encode_texts)


@pytest.fixture(scope="module")
def engine(models: RefinerModels) -> WindowRefiner:
    return WindowRefiner(models, LAWS, "test")


@pytest.fixture(scope="module")
def usual(engine: WindowRefiner) -> FramesTHWC:
    """What the usual request of 16 frames refines to."""
    return refine_streaming(engine, spec_of(16), preview(16))


def test_the_suffix_is_read_after_every_prompt(models: RefinerModels) -> None:
    with_suffix = WindowRefiner(models, replace(LAWS, prompt_suffix=", "), "test")
    plain, frames = WindowRefiner(models, LAWS, "test"), preview(16)

    refined = refine_streaming(with_suffix, spec_of(16, prompt="a red circle"), frames)

    assert np.array_equal(refined, refine_streaming(plain, spec_of(16, prompt="a red circle, "), frames))
    assert not np.array_equal(refined, refine_streaming(plain, spec_of(16, prompt="a red circle"), frames))


def spec_of(num_frames: int, schedule: RefineSchedule = "streaming", **changes: object) -> JobSpec:
    return job_spec(num_frames=num_frames, refine=REFINED.model_copy(update={"schedule": schedule}), **changes)


def preview(num_frames: int) -> FramesTHWC:
    return np.random.default_rng(0).integers(0, 256, (num_frames, 32, 32, 3), np.uint8)


def refine_streaming(engine: RefineEngine, spec: JobSpec, frames: FramesTHWC) -> FramesTHWC:
    """All windows, the state passing through bytes as it does between workers."""
    state, made = RefineState(), list[FramesTHWC]()
    for window in refinement_windows(spec.length):
        part = frames[window.first_frame : window.end_frame]
        refined = engine.refine_window(spec, state, part, ignore_step)
        assert len(refined.frames) == len(published_by(refinement_windows(spec.length), window.index))
        state = RefineState.from_bytes(refined.state.to_bytes())
        made.append(refined.frames)
    return np.concatenate(made)


def refine_lockstep(engine: RefineEngine, spec: JobSpec, frames: FramesTHWC) -> FramesTHWC:
    state = engine.start_lockstep(spec, frames)
    for _ in range(REFINED.num_inference_steps):
        state = RefineState.from_bytes(engine.step_lockstep(spec, state, ignore_step).to_bytes())
    return engine.finish_lockstep(spec, state, range(spec.length))


@pytest.mark.parametrize("num_frames", [16, 24, 25, 41])
def test_every_frame_of_every_length_is_refined_once(engine: WindowRefiner, num_frames: int) -> None:
    spec, frames = spec_of(num_frames), preview(num_frames)
    assert refine_streaming(engine, spec, frames).shape == (num_frames, 64, 64, 3)
    assert refine_lockstep(engine, spec, frames).shape == (num_frames, 64, 64, 3)


def test_both_schedules_agree_where_there_is_one_window(engine: WindowRefiner) -> None:
    spec, frames = spec_of(24), preview(24)
    assert np.array_equal(refine_streaming(engine, spec, frames), refine_lockstep(engine, spec, frames))


def test_the_same_request_gives_the_same_bytes(engine: WindowRefiner) -> None:
    spec, frames = spec_of(40), preview(40)
    assert np.array_equal(refine_streaming(engine, spec, frames), refine_streaming(engine, spec, frames))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 8},
        {"prompt": "a blue square, much longer"},
        {"negative_prompt": "blurry"},
        {"refine": REFINED.model_copy(update={"strength": 0.3})},
        {"refine": REFINED.model_copy(update={"guidance_scale": 6.0})},
        {"refine": REFINED.model_copy(update={"num_inference_steps": 3})},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_field_of_the_request_acts(engine: WindowRefiner, usual: FramesTHWC, changes: dict[str, object]) -> None:
    changed = spec_of(16).model_copy(update=changes)
    assert not np.array_equal(usual, refine_streaming(engine, changed, preview(16)))


def test_windows_that_go_through_the_network_together_give_the_same_numbers(
    models: RefinerModels, engine: WindowRefiner
) -> None:
    one_by_one = WindowRefiner(models, replace(LAWS, windows_per_batch=1), "test")
    spec, frames = spec_of(56, "lockstep"), preview(56)
    together, apart = refine_lockstep(engine, spec, frames), refine_lockstep(one_by_one, spec, frames)
    assert np.abs(together.astype(int) - apart.astype(int)).max() <= 1


def test_a_lockstep_step_asks_the_network_once_for_every_batch_of_windows(engine: WindowRefiner) -> None:
    spec, told = spec_of(88, "lockstep"), list[tuple[int, int]]()
    state = engine.start_lockstep(spec, preview(88))

    after = engine.step_lockstep(spec, state, lambda step, steps: told.append((step, steps)))

    assert len(refinement_windows(88)) == 5
    assert len(told) == 3
    assert {name: array.shape[2] for name, array in after.arrays.items()} == {"x": 88, "last_clean": 88}


def test_without_guidance_the_negative_prompt_is_not_read(engine: WindowRefiner, usual: FramesTHWC) -> None:
    plain = spec_of(16).model_copy(update={"refine": REFINED.model_copy(update={"guidance_scale": 1.0})})
    other = plain.model_copy(update={"negative_prompt": "blurry"})
    first, second = (refine_streaming(engine, spec, preview(16)) for spec in (plain, other))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, usual)


def test_a_request_taken_apart_gives_the_frames_of_the_request(engine: WindowRefiner) -> None:
    spec, frames = spec_of(24), preview(24)
    video = engine.encode_preview(spec, frames)
    with torch.inference_mode():
        apart = video.decode(refine_in_streaming(video.refiner, video.clean_1CVHW, refinement_windows(24), ignore_step))
    assert np.array_equal(apart, refine_streaming(engine, spec, frames))


def test_frames_through_the_autoencoder_keep_their_size(engine: WindowRefiner) -> None:
    shown = engine.reconstructed(preview(17))
    assert (shown.shape, shown.dtype) == ((17, 32, 32, 3), np.uint8)
    assert np.array_equal(shown[:16], engine.reconstructed(preview(17)[:16]))


def test_sizes_that_the_network_cannot_do_are_padded_and_cut_again(engine: WindowRefiner) -> None:
    odd = spec_of(16).model_copy(update={"refine": REFINED.model_copy(update={"height": 72, "width": 40})})
    assert refine_streaming(engine, odd, preview(16)).shape == (16, 72, 40, 3)


def test_a_stop_between_two_steps_goes_through(engine: WindowRefiner) -> None:
    def stop(step: int, steps: int) -> None:
        assert steps == REFINED.num_inference_steps
        if step == 1:
            raise Interrupted("canceled")

    with pytest.raises(Interrupted):
        engine.refine_window(spec_of(16), RefineState(), preview(16), stop)


def test_a_stop_in_lockstep_does_not_wait_for_all_windows(engine: WindowRefiner) -> None:
    spec, told = spec_of(88, "lockstep"), list[tuple[int, int]]()

    def stop(step: int, steps: int) -> None:
        told.append((step, steps))
        if len(told) == 2:
            raise Interrupted("canceled")

    state = engine.start_lockstep(spec, preview(88))
    with pytest.raises(Interrupted):
        engine.step_lockstep(spec, state, stop)
    assert told == [(0, REFINED.num_inference_steps)] * 2


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize(("part", "stage"), [("unet", "refinement"), ("encoder", "refinement"), ("decoder", "decoder")])
def test_one_damaged_weight_fails_a_window_with_stage_and_chunk(
    models: RefinerModels, engine: WindowRefiner, part: str, stage: str, value: float
) -> None:
    spec, frames = spec_of(40), preview(40)
    state = engine.refine_window(spec, RefineState(), frames[:24], ignore_step).state
    network = models.network.unet if part == "unet" else getattr(models.vae, part)

    with poisoned(network, value), pytest.raises(NotFinite, match=f"refined chunk 1, {stage}: numbers that are not"):
        engine.refine_window(spec, state, frames[16:], ignore_step)


@pytest.mark.parametrize("value", [NAN, INFINITY])
def test_one_damaged_weight_fails_a_lockstep_step(models: RefinerModels, engine: WindowRefiner, value: float) -> None:
    spec = spec_of(40, "lockstep")
    state = engine.step_lockstep(spec, engine.start_lockstep(spec, preview(40)), ignore_step)

    with (
        poisoned(models.network.unet, value),
        pytest.raises(NotFinite, match="all refined chunks, refinement step 1: numbers that are not"),
    ):
        engine.step_lockstep(spec, state, ignore_step)


def test_one_damaged_weight_fails_lockstep_s_start_and_its_end(models: RefinerModels, engine: WindowRefiner) -> None:
    spec = spec_of(40, "lockstep")
    with poisoned(models.vae.encoder, NAN), pytest.raises(NotFinite, match="all refined chunks, encoder: "):
        engine.start_lockstep(spec, preview(40))

    state = engine.start_lockstep(spec, preview(40))
    with poisoned(models.vae.decoder, INFINITY), pytest.raises(NotFinite, match="refined chunk 2, decoder: "):
        engine.finish_lockstep(spec, state, range(32, 40))


def test_a_refinement_state_that_is_not_finite_is_not_continued(engine: WindowRefiner) -> None:
    streaming, lockstep = spec_of(40), spec_of(40, "lockstep")
    window = engine.refine_window(streaming, RefineState(), preview(40)[:24], ignore_step).state
    broken = {name: np.full_like(array, NAN) for name, array in window.arrays.items()}
    with pytest.raises(NotFinite, match="refined chunk 1, refinement: "):
        engine.refine_window(streaming, RefineState(1, broken), preview(40)[16:], ignore_step)

    start = engine.start_lockstep(lockstep, preview(40)).arrays["x"].copy()
    start[0, 0, 39, 0, 0] = NAN
    with pytest.raises(NotFinite, match="all refined chunks, refinement step 0: "):
        engine.step_lockstep(lockstep, RefineState(0, {"x": start}), ignore_step)


@pytest.mark.parametrize("schedule", ["streaming", "lockstep"])
def test_each_window_is_refined_with_the_prompt_at_its_first_frame(
    engine: WindowRefiner, schedule: RefineSchedule
) -> None:
    frames, plain = preview(56), spec_of(56, schedule)
    late = plain.model_copy(update={"prompt_changes": (PromptChange(start_frame=17, text="something else"),)})
    never = plain.model_copy(update={"prompt_changes": (PromptChange(start_frame=33, text="something else"),)})
    before, after = (whole_video(engine, spec, frames) for spec in (plain, late))
    assert np.array_equal(whole_video(engine, never, frames), before), "no window begins there or later"
    assert not np.array_equal(after[32:], before[32:])
    if schedule == "streaming":
        assert np.array_equal(after[:32], before[:32])


def whole_video(engine: WindowRefiner, spec: JobSpec, frames: FramesTHWC) -> FramesTHWC:
    if spec.refine is not None and spec.refine.schedule == "streaming":
        return refine_streaming(engine, spec, frames)
    state = engine.start_lockstep(spec, frames)
    while state.done < REFINED.num_inference_steps:
        state = engine.step_lockstep(spec, state, ignore_step)
    return engine.finish_lockstep(spec, state, range(len(frames)))


def refine_on(
    engine: RefineEngine, spec: JobSpec, frames: FramesTHWC, state: RefineState, stop: int
) -> tuple[RefineState, list[FramesTHWC]]:
    """The windows after `state` up to window `stop` of a video of this length."""
    made = list[FramesTHWC]()
    for window in refinement_windows(spec.length)[state.done : stop]:
        refined = engine.refine_window(spec, state, frames[window.first_frame : window.end_frame], ignore_step)
        state = RefineState.from_bytes(refined.state.to_bytes())
        made.append(refined.frames)
    return state, made


@pytest.mark.parametrize(
    ("before", "after", "done"), [(48, 96, 2), (96, 48, 2), (41, 64, 2), (64, 41, 2), (48, 72, 0), (72, 48, 1)]
)
def test_a_length_that_changes_gives_the_frames_of_a_video_of_the_new_length(
    engine: WindowRefiner, before: int, after: int, done: int
) -> None:
    frames, changed = preview(96), spec_of(after)

    state, made = refine_on(engine, spec_of(before), frames, RefineState(), done)
    _, later = refine_on(engine, changed, frames, state, len(frames))

    assert np.array_equal(np.concatenate([*made, *later]), refine_streaming(engine, changed, frames))


def as_the_version_before(state: RefineState, num_frames: int) -> RefineState:
    """The state with the last frames of the window only."""
    return RefineState(state.done, {"trajectory": state.arrays["trajectory"][:, :, :, -num_frames:].copy()})


@pytest.mark.parametrize(("num_frames", "done", "shared"), [(56, 1, 8), (48, 2, 16)])
def test_a_state_of_the_version_before_gives_the_same_frames(
    engine: WindowRefiner, num_frames: int, done: int, shared: int
) -> None:
    spec, frames = spec_of(num_frames), preview(num_frames)
    state, made = refine_on(engine, spec, frames, RefineState(), done)

    _, later = refine_on(engine, spec, frames, as_the_version_before(state, shared), num_frames)

    assert np.array_equal(np.concatenate([*made, *later]), refine_streaming(engine, spec, frames))


def test_a_state_of_the_version_before_does_not_go_on_in_a_shorter_video(engine: WindowRefiner) -> None:
    state, _ = refine_on(engine, spec_of(96), preview(96), RefineState(), 2)
    with pytest.raises(ValueError, match="begins at frame 32, but the window at frame 24"):
        refine_on(engine, spec_of(48), preview(48), as_the_version_before(state, 8), 3)
