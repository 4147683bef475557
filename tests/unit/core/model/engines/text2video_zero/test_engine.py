"""Videos by engine calls: any length, the same bytes however they are made, memory that does not grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from core.model.engines.text2video_zero.engine import FIRST, MOVING, TextToVideoZeroEngine
from core.model.engines.text2video_zero.sampling import motion_steps
from core.model.sampling.schedules import make_schedule, spaced_timesteps
from core.service.domain.engine import NO_INPUT_MEDIA, EngineChunk, EngineState, InputMedia, OnStep, ignore_step
from core.service.domain.errors import NotFinite, PromptTooLong
from core.service.domain.schema import JobSpec, PromptChange
from tests.helpers.engine_contract import EngineContract
from tests.helpers.pipelines_zero import SIDE, Frames, control_frames
from tests.helpers.poison import INFINITY, NAN, poisoned
from tests.unit.core.model.engines.text2video_zero.conftest import canny, load, zero_spec

QUICK = {"num_inference_steps": 2, "guidance_scale": 1.0}
MOTION = zero_spec(num_frames=17, num_inference_steps=2)
CONTROL = MOTION.model_copy(update={"control": canny(), "parameters": {"background_smoothing": 0.6}})
BOTH = pytest.mark.parametrize("spec", [MOTION, CONTROL], ids=["motion", "control"])


class TestMotion(EngineContract):
    spec = zero_spec(num_frames=100, **QUICK)
    size = (SIDE, SIDE)


class TestControl(EngineContract):
    spec = zero_spec(num_frames=100, control=canny(), parameters={"background_smoothing": 0.6}, **QUICK)
    inputs = InputMedia(video=Frames(control_frames(400)))
    size = (SIDE, SIDE)


def inputs_of(spec: JobSpec) -> InputMedia:
    return NO_INPUT_MEDIA if spec.control is None else InputMedia(video=Frames(control_frames(spec.length)))


def chunks(
    engine: TextToVideoZeroEngine, spec: JobSpec, state: EngineState | None = None, on_step: OnStep = ignore_step
) -> list[EngineChunk]:
    """All chunks from `state` on, by default from the beginning."""
    inputs, made = inputs_of(spec), list[EngineChunk]()
    state = state or engine.start(spec, inputs)
    while state.frames_done < spec.length:
        made.append(engine.next_chunk(spec, state, on_step, inputs))
        state = made[-1].state
    return made


def frames(made: list[EngineChunk]) -> NDArray[np.uint8]:
    return np.concatenate([chunk.frames for chunk in made])


@BOTH
def test_a_state_continues_in_another_process_with_the_same_bytes(
    folder: Path, engine: TextToVideoZeroEngine, spec: JobSpec
) -> None:
    other, made = load(folder), chunks(engine, spec)

    stored = EngineState.from_bytes(made[0].state.to_bytes())
    resumed = chunks(other, spec, stored)

    assert [chunk.frames.tobytes() for chunk in resumed] == [chunk.frames.tobytes() for chunk in made[1:]]
    assert [chunk.state.to_bytes() for chunk in resumed] == [chunk.state.to_bytes() for chunk in made[1:]]


def test_steps_are_counted_over_frame_0_and_all_frames(engine: TextToVideoZeroEngine) -> None:
    """Of 10 steps frame 0 takes two alone; the joint ones begin at the second."""
    told = list[tuple[int, int]]()

    def tell(step: int, steps: int) -> None:
        told.append((step, steps))

    chunks(engine, zero_spec(num_inference_steps=10, guidance_scale=1.0), on_step=tell)

    assert told == [(step, 11) for step in range(11)] + [(step, 10) for step in range(10)]


@pytest.mark.parametrize(("name", "value"), [("motion_x", -40.0), ("motion_y", 40.0), ("t0", 0.5), ("t1", 0.6)])
def test_every_parameter_of_motion_acts(engine: TextToVideoZeroEngine, name: str, value: float) -> None:
    levels = {"t0": 0.2, "t1": 0.8}
    spec = zero_spec(num_inference_steps=5, num_frames=16, guidance_scale=1.0, parameters=levels)
    other = spec.model_copy(update={"parameters": levels | {name: value}})

    assert not np.array_equal(frames(chunks(engine, spec)), frames(chunks(engine, other)))


def test_bilinear_motion_differs_from_the_nearest(engine: TextToVideoZeroEngine) -> None:
    spec = zero_spec(num_frames=16, **QUICK)
    other = spec.model_copy(update={"parameters": {"motion_interpolation": "bilinear"}})

    assert not np.array_equal(frames(chunks(engine, spec)), frames(chunks(engine, other)))


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7])
@pytest.mark.parametrize("control", [None, canny()], ids=["motion", "control"])
def test_few_steps_work(engine: TextToVideoZeroEngine, num_steps: int, control: Any) -> None:
    spec = zero_spec(num_inference_steps=num_steps, guidance_scale=1.0, num_frames=17, control=control)

    video = frames(chunks(engine, spec))

    assert len(video) == 17
    assert all(frame.std() > 1 for frame in video)


@pytest.mark.parametrize(
    ("num_steps", "expected"), [(50, (2, 5)), (25, (0, 2)), (20, (0, 1)), (8, (0, 1)), (2, (0, 1)), (1, (0, 0))]
)
def test_noise_levels_are_shares_of_the_steps(num_steps: int, expected: tuple[int, int]) -> None:
    """Of 50 steps those are timesteps 941 and 881, as published."""
    schedule = make_schedule()
    timesteps = spaced_timesteps("leading", num_steps, 1000, 1)

    steps = motion_steps(schedule, timesteps, 0.88, 0.94)

    assert (steps.joint, steps.moving) == expected
    if num_steps == 50:
        assert (timesteps[steps.joint], timesteps[steps.moving]) == (941, 881)


@pytest.mark.parametrize(("num_steps", "expected"), [(16, (1, 2)), (20, (1, 2)), (8, (1, 2)), (1, (0, 0))])
def test_motion_is_not_put_where_a_schedule_leaves_no_signal(num_steps: int, expected: tuple[int, int]) -> None:
    """With zero terminal SNR the first timestep is noise alone: moved latents would be forgotten."""
    schedule = make_schedule(prediction="v_prediction", zero_terminal_snr=True)

    steps = motion_steps(schedule, spaced_timesteps("trailing", num_steps, 1000), 0.88, 0.94)

    assert (steps.joint, steps.moving) == expected


def test_another_size_of_a_job_acts(engine: TextToVideoZeroEngine) -> None:
    assert frames(chunks(engine, zero_spec(height=24, width=40, num_frames=17, **QUICK))).shape == (17, 24, 40, 3)


def test_a_later_prompt_acts_from_its_chunk_on(engine: TextToVideoZeroEngine) -> None:
    """Its first chunk goes over to it."""
    spec = zero_spec(num_frames=64, **QUICK)
    change = (PromptChange(start_frame=20, text="a blue square"),)

    plain = chunks(engine, spec)
    changed = chunks(engine, spec.model_copy(update={"prompt_changes": change}))

    equal = [one.frames.tobytes() == two.frames.tobytes() for one, two in zip(plain, changed, strict=True)]
    assert equal == [True, True, False, False]


def test_a_prompt_that_is_too_long_is_refused(engine: TextToVideoZeroEngine) -> None:
    with pytest.raises(PromptTooLong):
        chunks(engine, zero_spec(prompt="x" * 40))


def test_without_motion_frames_differ_only_by_what_is_drawn_anew(engine: TextToVideoZeroEngine) -> None:
    """Of one step, frame 0 is moved where all begin: nothing is drawn between."""
    spec = zero_spec(num_frames=16, num_inference_steps=1, guidance_scale=1.0)
    still = spec.model_copy(update={"parameters": {"motion_x": 0.0, "motion_y": 0.0}})

    assert unrest(frames(chunks(engine, still))) < 0.01
    assert unrest(frames(chunks(engine, spec))) > 1


def unrest(video: NDArray[np.uint8]) -> float:
    """Mean difference of levels from frame 0."""
    return float(np.abs(video.astype(int) - video[:1]).mean())


def test_smoothing_holds_the_background_at_that_of_frame_0(engine: TextToVideoZeroEngine) -> None:
    """The square stays within the upper rows; the ControlNet changes the lower ones, too."""

    def lower_rows(share: float) -> NDArray[np.uint8]:
        spec = zero_spec(control=canny(scale=2.0), num_frames=16, parameters={"background_smoothing": share})
        return frames(chunks(engine, spec))[:, 14:]

    assert unrest(lower_rows(1.0)) < 0.5 * unrest(lower_rows(0.0))


def test_states_stay_small_and_hold_frame_0_only(engine: TextToVideoZeroEngine) -> None:
    sizes = {name: array.nbytes for name, array in chunks(engine, MOTION)[0].state.arrays.items()}

    assert {FIRST, MOVING} <= set(sizes)
    assert sizes[FIRST] == sizes[MOVING] == 4 * (SIDE // 2) ** 2 * 4


PARTS = ("unet", "vae", "texts", "controlnet")


def part_of(engine: TextToVideoZeroEngine, part: str) -> nn.Module:
    models: Any = engine.models
    if part == "texts":
        return models.texts.networks[0]
    return models.controlnet("canny") if part == "controlnet" else getattr(models, part)


@pytest.mark.parametrize("value", [NAN, INFINITY])
@pytest.mark.parametrize("part", PARTS)
def test_one_damaged_weight_fails_the_chunk_with_stage_and_index(folder: Path, part: str, value: float) -> None:
    engine, spec = load(folder), zero_spec(control=canny() if part == "controlnet" else None, **QUICK)
    first = engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), ignore_step, inputs_of(spec)).state
    other = spec.model_copy(update={"prompt": "a circle"})  # a text that it has not read

    stage = "decoder" if part == "vae" else "window"
    with poisoned(part_of(engine, part), value), pytest.raises(NotFinite, match=f"chunk 1, {stage}: "):
        engine.next_chunk(other, first, ignore_step, inputs_of(spec))


@pytest.mark.parametrize("memory", [FIRST, MOVING])
def test_a_state_that_is_not_finite_is_not_continued(engine: TextToVideoZeroEngine, memory: str) -> None:
    state = chunks(engine, zero_spec(num_frames=17, **QUICK))[0].state
    broken = {**state.arrays, memory: np.full_like(state.arrays[memory], NAN)}

    with pytest.raises(NotFinite, match="chunk 1, window: "):
        engine.next_chunk(zero_spec(**QUICK), EngineState(16, broken), ignore_step)


def test_jobs_between_one_another_do_not_change_each_other(engine: TextToVideoZeroEngine) -> None:
    one, two = zero_spec(num_frames=32, **QUICK), zero_spec(num_frames=32, prompt="a blue square", **QUICK)
    expected = frames(chunks(engine, one))
    first = engine.next_chunk(one, engine.start(one, NO_INPUT_MEDIA), ignore_step)

    chunks(engine, two)
    second = engine.next_chunk(one, first.state, ignore_step)

    assert np.array_equal(frames([first, second]), expected)
    assert torch.is_inference_mode_enabled() is False
