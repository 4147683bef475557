"""The engine on a preset with random weights: frame accounting, same bytes, resuming, and that every field acts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.model.engines.streaming_t2v.engine import StreamingT2VEngine
from core.model.engines.streaming_t2v.first_chunk.source import FirstChunkRequest
from core.model.engines.streaming_t2v.loading import load_engine, sampling_config
from core.model.engines.streaming_t2v.models import UNDISTILLED, Distilled, EngineConfig, LoadedModels, ProfileConfig
from core.model.engines.streaming_t2v.networks import WeightsFolder
from core.model.engines.streaming_t2v.preset import read_preset
from core.model.sampling.lru_cache import LruCache
from core.service.domain.engine import NO_INPUT_MEDIA, Engine, EngineChunk, EngineState, InputMedia, OnStep, ignore_step
from core.service.domain.errors import FieldNotSupported, Interrupted, PromptTooLong
from core.service.domain.schema import FirstChunkSampling, JobSpec, Profile, PromptChange
from tests.helpers.jobs import job_spec
from tests.helpers.random_preset import write_random_preset

SPEC = job_spec(
    prompt="a red circle moving left",
    negative_prompt="",
    num_frames=43,
    fps=8,
    seed=33,
    model="toy",
    guidance_scale=3.0,
    num_inference_steps=2,
    first_chunk=FirstChunkSampling(num_inference_steps=3, guidance_scale=2.0),
)

ONE_WINDOW = SPEC.model_copy(update={"num_frames": 24})
"""The same video cut after its first window: enough to see what acts on windows."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset with random weights."""
    return write_random_preset(tmp_path_factory.mktemp("presets") / "toy", num_inference_steps=2)


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    """One engine for all tests here: nothing of a request stays in it but caches."""
    return load_engine(folder, device="cpu", torch_threads=1)


@dataclass(frozen=True)
class Run:
    """A video made without interruption: states before each chunk and after the last, and the chunks."""

    states: list[EngineState]
    chunks: list[EngineChunk]

    @property
    def frames(self) -> Any:
        """All frames, THWC."""
        return np.concatenate([chunk.frames for chunk in self.chunks])


def make_video(engine: Engine, spec: JobSpec) -> Run:
    """All chunks of a request."""
    run = Run([engine.start(spec, NO_INPUT_MEDIA)], [])
    while run.states[-1].frames_done < spec.length:
        run.chunks.append(engine.next_chunk(spec, run.states[-1], ignore_step))
        run.states.append(run.chunks[-1].state)
    return run


@pytest.fixture(scope="module")
def whole(engine: Engine) -> Run:
    """SPEC's video."""
    return make_video(engine, SPEC)


def test_chunks_hold_16_frames_and_the_last_one_the_rest(whole: Run) -> None:
    assert [chunk.frames.shape for chunk in whole.chunks] == [(16, 64, 64, 3), (16, 64, 64, 3), (11, 64, 64, 3)]
    assert [state.frames_done for state in whole.states] == [0, 16, 32, 43]
    assert whole.frames.dtype == np.uint8


def test_no_two_windows_are_alike(whole: Run) -> None:
    eights = [whole.frames[start : start + 8].tobytes() for start in range(0, 40, 8)]

    assert len(set(eights)) == 5


def test_state_of_another_worker_gives_the_same_bytes(folder: Path, whole: Run) -> None:
    other = load_engine(folder, device="cpu", torch_threads=1)

    for index in (1, 2):
        carried = EngineState.from_bytes(whole.states[index].to_bytes())
        chunk = other.next_chunk(SPEC, carried, ignore_step)
        assert chunk.frames.tobytes() == whole.chunks[index].frames.tobytes()
        assert chunk.state.to_bytes() == whole.states[index + 1].to_bytes()


def test_no_chunk_before_the_last_depends_on_the_length(engine: Engine, whole: Run) -> None:
    endless = SPEC.model_copy(update={"num_frames": None, "endless_limit": 1_000_000}).for_engine()
    state = engine.start(endless, NO_INPUT_MEDIA)
    for index in range(2):
        chunk = engine.next_chunk(endless, state, ignore_step)
        state = chunk.state
        assert chunk.frames.tobytes() == whole.chunks[index].frames.tobytes()
        assert state.to_bytes() == whole.states[index + 1].to_bytes()


def test_a_chunk_leaves_the_state_before_it_untouched(engine: Engine, whole: Run) -> None:
    before = whole.states[1].to_bytes()

    engine.next_chunk(ONE_WINDOW, whole.states[1], ignore_step)

    assert whole.states[1].to_bytes() == before


def test_extending_appends_and_rewrites_nothing(engine: Engine, whole: Run) -> None:
    longer = SPEC.model_copy(update={"num_frames": 60})
    seen: list[tuple[int, int]] = []

    appended = engine.next_chunk(longer, whole.states[-1], lambda step, steps: seen.append((step, steps)))

    assert len(whole.states[-1].arrays["surplus_frames"]) == 5
    assert len(appended.frames) == 16
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4)]
    uncut = engine.next_chunk(longer, whole.states[2], ignore_step)
    rest = engine.next_chunk(longer, uncut.state, ignore_step)
    extended = np.concatenate([whole.chunks[2].frames, appended.frames])
    assert extended.tobytes() == np.concatenate([uncut.frames, rest.frames])[:27].tobytes()


def test_surplus_alone_needs_no_denoising(engine: Engine, whole: Run) -> None:
    longer = SPEC.model_copy(update={"num_frames": 47})

    def refuse(step: int, steps: int) -> None:
        raise AssertionError((step, steps))

    chunk = engine.next_chunk(longer, whole.states[-1], refuse)

    assert chunk.frames.tobytes() == whole.states[-1].arrays["surplus_frames"][:4].tobytes()
    assert len(chunk.state.arrays["surplus_frames"]) == 1


def test_steps_are_counted_over_the_chunk(engine: Engine, whole: Run) -> None:
    counts: list[list[tuple[int, int]]] = []
    for spec, state in ((SPEC, whole.states[0]), (SPEC, whole.states[1]), (ONE_WINDOW, whole.states[1])):
        counts.append([])
        engine.next_chunk(spec, state, lambda step, steps, seen=counts[-1]: seen.append((step, steps)))

    assert counts == [[(0, 3), (1, 3), (2, 3)], [(0, 4), (1, 4), (2, 4), (3, 4)], [(0, 2), (1, 2)]]


@pytest.mark.parametrize(("chunk", "stop_at"), [(0, 1), (1, 0), (1, 3)])
def test_interruption_passes_through_and_changes_nothing(engine: Engine, whole: Run, chunk: int, stop_at: int) -> None:
    def stop(step: int, steps: int) -> None:
        del steps
        if step == stop_at:
            raise Interrupted

    with pytest.raises(Interrupted):
        engine.next_chunk(SPEC, whole.states[chunk], stop)

    again = engine.next_chunk(SPEC, whole.states[chunk], ignore_step)
    assert again.frames.tobytes() == whole.chunks[chunk].frames.tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a blue square"},
        {"negative_prompt": "plain background"},
        {"guidance_scale": 5.0},
        {"num_inference_steps": 3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_acts_on_the_windows(engine: Engine, whole: Run, change: dict[str, Any]) -> None:
    changed = engine.next_chunk(ONE_WINDOW.model_copy(update=change), whole.states[1], ignore_step)

    assert changed.frames.tobytes() != whole.chunks[1].frames[:8].tobytes()


def test_seed_acts_on_first_chunk_and_windows(engine: Engine, whole: Run) -> None:
    other_seed = ONE_WINDOW.model_copy(update={"seed": 34})
    start = engine.start(other_seed, NO_INPUT_MEDIA)
    grafted = EngineState(16, {**whole.states[1].arrays, "generator": start.arrays["generator"]})

    first = engine.next_chunk(other_seed, start, ignore_step)
    second = engine.next_chunk(other_seed, grafted, ignore_step)

    assert first.frames.tobytes() != whole.chunks[0].frames.tobytes()
    assert second.frames.tobytes() != whole.chunks[1].frames[:8].tobytes()


def test_first_chunk_leaves_the_windows_stream_at_its_start(whole: Run) -> None:
    assert np.array_equal(whole.states[0].arrays["generator"], whole.states[1].arrays["generator"])
    assert not np.array_equal(whole.states[1].arrays["generator"], whole.states[2].arrays["generator"])


@pytest.mark.parametrize("memory", ["anchor_frame", "conditioning_frames"])
def test_both_memories_act(engine: Engine, whole: Run, memory: str) -> None:
    arrays = whole.states[1].arrays
    forgetful = EngineState(16, {**arrays, memory: 1 - arrays[memory]})

    chunk = engine.next_chunk(ONE_WINDOW, forgetful, ignore_step)

    assert chunk.frames.tobytes() != whole.chunks[1].frames[:8].tobytes()


def test_guidance_of_one_leaves_the_negative_prompt_out(engine: Engine, whole: Run) -> None:
    plain = ONE_WINDOW.model_copy(update={"guidance_scale": 1.0})
    with_negative = plain.model_copy(update={"negative_prompt": "plain background"})

    chunks = [engine.next_chunk(spec, whole.states[1], ignore_step) for spec in (plain, with_negative)]

    assert chunks[0].frames.tobytes() == chunks[1].frames.tobytes()


def test_over_long_text_is_refused(engine: Engine) -> None:
    wordy = SPEC.model_copy(update={"prompt": "red " * 30})

    with pytest.raises(PromptTooLong):
        engine.next_chunk(wordy, engine.start(wordy, NO_INPUT_MEDIA), ignore_step)


def test_asking_beyond_the_end_is_a_mistake(engine: Engine, whole: Run) -> None:
    with pytest.raises(ValueError, match="done already"):
        engine.next_chunk(SPEC, whole.states[-1], ignore_step)


def test_timings_name_the_phases(whole: Run) -> None:
    assert set(whole.chunks[1].timings) == {"prepare", "denoise", "decode"}
    assert whole.chunks[1].timings["denoise"] > 0


def test_warm_up_changes_no_result(folder: Path, whole: Run) -> None:
    warmed = load_engine(folder, device="cpu", torch_threads=1)
    warmed.warm_up()

    chunk = warmed.next_chunk(SPEC, warmed.start(SPEC, NO_INPUT_MEDIA), ignore_step)

    assert isinstance(warmed, StreamingT2VEngine)
    assert chunk.frames.tobytes() == whole.chunks[0].frames.tobytes()


def test_recent_results_are_kept_and_the_longest_unused_goes() -> None:
    made: list[str] = []
    recent: LruCache[str, str] = LruCache(2)

    def ask(key: str) -> None:
        recent.get(key, lambda: made.append(key) or key)

    for key in "abacabb":
        ask(key)

    assert made == ["a", "b", "c", "b"]


GIVEN_FRAMES = np.random.default_rng(1).integers(0, 256, (16, 64, 64, 3), np.uint8)


def test_input_frames_are_chunk_0_and_nothing_is_denoised_for_it(engine: Engine) -> None:
    def refuse(step: int, steps: int) -> None:
        raise AssertionError((step, steps))

    first = engine.next_chunk(SPEC, engine.start(SPEC, InputMedia(frames=GIVEN_FRAMES)), refuse)

    assert first.frames.tobytes() == GIVEN_FRAMES.tobytes()
    assert set(first.state.arrays) == {"generator", "anchor_frame", "conditioning_frames"}
    assert np.array_equal(first.state.arrays["anchor_frame"], GIVEN_FRAMES[0].transpose(2, 0, 1) / np.float32(255))
    assert np.array_equal(first.state.arrays["generator"], engine.start(SPEC, NO_INPUT_MEDIA).arrays["generator"])


def test_windows_continue_the_input_media(engine: Engine, whole: Run) -> None:
    def second_chunk(frames: Any) -> bytes:
        first = engine.next_chunk(ONE_WINDOW, engine.start(ONE_WINDOW, InputMedia(frames=frames)), ignore_step)
        return engine.next_chunk(ONE_WINDOW, first.state, ignore_step).frames.tobytes()

    assert second_chunk(GIVEN_FRAMES) == second_chunk(GIVEN_FRAMES)
    assert second_chunk(GIVEN_FRAMES) != second_chunk(GIVEN_FRAMES[::-1].copy())
    assert second_chunk(GIVEN_FRAMES) != whole.chunks[1].frames[:8].tobytes()


def test_input_frames_survive_the_state_s_bytes(engine: Engine) -> None:
    start = engine.start(SPEC, InputMedia(frames=GIVEN_FRAMES))

    carried = EngineState.from_bytes(start.to_bytes())

    assert engine.next_chunk(SPEC, carried, ignore_step).frames.tobytes() == GIVEN_FRAMES.tobytes()


def test_input_frames_of_another_size_are_an_error(engine: Engine) -> None:
    with pytest.raises(ValueError, match="input frames are"):
        engine.start(SPEC, InputMedia(frames=GIVEN_FRAMES[:8]))


def test_an_image_is_refused_where_the_source_begins_with_text(engine: Engine) -> None:
    start = engine.start(SPEC, InputMedia(image=GIVEN_FRAMES[0]))

    with pytest.raises(FieldNotSupported):
        engine.next_chunk(SPEC, start, ignore_step)


def test_the_profile_decides_the_sampler_of_windows_and_first_chunk(engine: Engine, whole: Run) -> None:
    reference = ONE_WINDOW.model_copy(update={"profile": "reference"})

    first = engine.next_chunk(reference, whole.states[0], ignore_step)
    second = engine.next_chunk(reference, whole.states[1], ignore_step)

    assert first.frames.tobytes() != whole.chunks[0].frames.tobytes()  # ddim instead of dpm_solver_pp
    assert second.frames.tobytes() == whole.chunks[1].frames[:8].tobytes()  # the same sampler and steps here


class OneColour:
    """A first-chunk source that notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[FirstChunkRequest] = []

    def __call__(self, request: FirstChunkRequest, on_step: OnStep) -> Tensor:
        self.asked.append(request)
        on_step(0, 1)
        return torch.full((16, 3, 64, 64), 0.5)


class OtherDtypes:
    """A preset's models that say which dtypes were asked for."""

    def __init__(self, weights: WeightsFolder) -> None:
        self.device = weights.device
        self.asked: list[torch.dtype] = []
        self._weights = weights

    def at(self, dtype: torch.dtype, distilled: Distilled = UNDISTILLED) -> LoadedModels:
        self.asked.append(dtype)
        return self._weights.at(torch.float32, distilled)


def config_of(folder: Path, **dtypes: torch.dtype) -> EngineConfig:
    preset = read_preset(folder)
    profiles: dict[Profile, ProfileConfig] = {
        name: ProfileConfig(
            sampling_config(preset, profile.windows),
            sampling_config(preset, profile.first_chunk),
            dtypes.get(name, torch.float32),
        )
        for name, profile in preset.profiles.items()
    }
    return EngineConfig(64, 64, profiles, "")


def test_another_source_is_asked_with_every_field_of_the_request(folder: Path) -> None:
    source = OneColour()
    engine = StreamingT2VEngine(WeightsFolder(folder, torch.device("cpu")), config_of(folder), source)
    sampling = FirstChunkSampling(num_inference_steps=11, guidance_scale=4.5)
    spec = SPEC.model_copy(update={"first_chunk": sampling, "negative_prompt": "plain"})
    image = GIVEN_FRAMES[0]

    chunk = engine.next_chunk(spec, engine.start(spec, InputMedia(image=image)), ignore_step)

    asked = source.asked[0]
    assert (asked.prompt, asked.negative_prompt, asked.image) == (spec.prompt, "plain", image)
    assert (asked.num_inference_steps, asked.guidance_scale) == (11, 4.5)
    assert asked.generator.initial_seed() != spec.seed  # a stream of its own
    assert (chunk.frames == 128).all()
    assert "given_image" not in chunk.state.arrays


def test_warming_up_leaves_another_source_alone(folder: Path) -> None:
    source = OneColour()

    StreamingT2VEngine(WeightsFolder(folder, torch.device("cpu")), config_of(folder), source).warm_up()

    assert source.asked == []


def test_each_profile_gets_networks_of_its_dtype(folder: Path, whole: Run) -> None:
    models = OtherDtypes(WeightsFolder(folder, torch.device("cpu")))
    engine = StreamingT2VEngine(models, config_of(folder, fast=torch.bfloat16))

    engine.next_chunk(ONE_WINDOW, whole.states[1], ignore_step)
    engine.next_chunk(ONE_WINDOW.model_copy(update={"profile": "reference"}), whole.states[1], ignore_step)

    assert models.asked == [torch.bfloat16, torch.float32]


def changed_at(start_frame: int, text: str = "a blue square moving up") -> JobSpec:
    return SPEC.model_copy(update={"prompt_changes": (PromptChange(start_frame=start_frame, text=text),)})


def test_a_new_prompt_acts_from_its_window_on_and_nothing_before_it_changes(engine: Engine, whole: Run) -> None:
    steered = make_video(engine, changed_at(20)).frames
    assert np.array_equal(steered[:24], whole.frames[:24])
    assert not np.array_equal(steered[24:32], whole.frames[24:32])


def test_the_window_of_a_change_goes_over_frame_by_frame(engine: Engine, whole: Run) -> None:
    """Its first new frames are nearer to the old prompt's than its last ones are."""
    new = SPEC.model_copy(update={"prompt": "a blue square moving up"})
    at_once = engine.next_chunk(new, whole.states[1], ignore_step).frames[:8].astype(float)
    eased = engine.next_chunk(changed_at(16), whole.states[1], ignore_step).frames[:8].astype(float)
    old = whole.frames[16:24].astype(float)
    share = [np.abs(eased[t] - old[t]).mean() / np.abs(at_once[t] - old[t]).mean() for t in (0, 7)]
    assert share[0] < share[1]


def test_a_change_to_the_same_prompt_changes_no_byte(engine: Engine, whole: Run) -> None:
    assert np.array_equal(make_video(engine, changed_at(16, SPEC.prompt)).frames, whole.frames)


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_another_worker_makes_the_same_bytes_of_a_changed_prompt(
    engine: Engine, folder: Path, whole: Run, guidance_scale: float
) -> None:
    spec = changed_at(16).model_copy(update={"guidance_scale": guidance_scale})
    state = EngineState.from_bytes(whole.states[1].to_bytes())
    other = load_engine(folder, device="cpu", torch_threads=1)
    made = [each.next_chunk(spec, state, ignore_step) for each in (engine, other)]
    assert np.array_equal(made[0].frames, made[1].frames)
    assert made[0].state.to_bytes() == made[1].state.to_bytes()
