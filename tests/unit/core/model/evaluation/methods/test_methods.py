"""What every compared method promises: lengths, determinism, and a given first chunk unchanged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.metrics.video.seams import Borders
from core.model.engines.streaming_t2v.sampling import SamplingConfig, VideoContext
from core.model.engines.svd.engine import SvdEngine
from core.model.evaluation.methods import last_frame_trial
from core.model.evaluation.methods.base_model import BaseModel
from core.model.evaluation.methods.free_noise import FreeNoise
from core.model.evaluation.methods.free_noise_windows import Windows
from core.model.evaluation.methods.method import Method, MethodError, MethodRequest
from core.model.evaluation.methods.registry import MethodOptions, load_method, method_facts, method_names
from core.model.evaluation.suites.ablation_studies import STUDIES
from core.model.sampling.samplers import Denoiser
from core.model.sampling.vae import to_pictures
from core.model.training.ablation import Ablation, Budget, Trial
from core.model.training.recipe import Recipe
from core.service.domain.engine import EngineState, FramesTHWC, InputMedia
from core.service.domain.schema import JobSpec
from core.service.settings import Settings
from tests.unit.core.model.evaluation.methods.conftest import SIDE

# diffusers' Euler scheduler gives numpy a tensor in a way that numpy 2 wants done otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STRATEGIES = ("streaming_t2v", "last_frame", "free_noise", "text2video_zero")
WINDOW_TRIALS = {"streaming_t2v_trial": "cam-apm", "cam": "cam", "concat": "concat", "additive": "add"}
TRIALS = {**WINDOW_TRIALS, "last_frame_trial": "last-frame"}
TAKES = {
    **{"streaming_t2v": "all 16 frames", "last_frame": "its last frame", "free_noise": "no", "text2video_zero": "no"},
    **{"toy": "all 16 frames", "toy-svd": "its last frame"},
}
PROMPT = "a red circle"
Load = Callable[[str], Method]


@pytest.fixture(scope="module")
def load(options: MethodOptions) -> Load:
    """Each method once."""
    loaded: dict[str, Method] = {}

    def get(name: str) -> Method:
        if name not in loaded:
            loaded[name] = load_method(name, options)
        return loaded[name]

    return get


def a_first_chunk(side: int = SIDE) -> FramesTHWC:
    return np.random.default_rng(side).integers(0, 256, (16, side, side, 3), np.uint8)


def video(method: Method, num_frames: int, seed: int = 1, first_chunk: FramesTHWC | None = None) -> FramesTHWC:
    return np.concatenate(list(method.chunks(MethodRequest(PROMPT, seed, num_frames), first_chunk)))


@pytest.mark.parametrize("num_frames", [16, 17, 40])
@pytest.mark.parametrize("name", STRATEGIES)
def test_videos_have_exactly_the_frames_asked_for(load: Load, name: str, num_frames: int) -> None:
    assert len(video(load(name), num_frames)) == num_frames


@pytest.mark.parametrize("name", ["streaming_t2v", "free_noise", "text2video_zero"])
def test_long_videos_come_in_chunks(load: Load, name: str) -> None:
    chunks = list(load(name).chunks(MethodRequest(PROMPT, 1, 112)))
    assert [len(chunk) for chunk in chunks] == [16] * 7
    assert {chunk.dtype for chunk in chunks} == {np.dtype(np.uint8)}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_seed_decides_the_frames(load: Load, name: str) -> None:
    method = load(name)
    one = video(method, 24)
    assert np.array_equal(one, video(method, 24))
    assert not np.array_equal(one, video(method, 24, seed=2))


@pytest.mark.parametrize("name", [*STRATEGIES, "toy", "toy-svd"])
def test_a_given_first_chunk_is_the_beginning_where_it_is_taken(load: Load, name: str) -> None:
    method, first = load(name), a_first_chunk()
    assert method.facts.takes_first_chunk == TAKES[name]
    made = video(method, 40, first_chunk=first)
    assert len(made) == 40
    assert np.array_equal(made[:16], first) == (TAKES[name] != "no")
    if TAKES[name] == "no":
        assert np.array_equal(made, video(method, 40))


@pytest.mark.parametrize("name", ["streaming_t2v", "last_frame", "toy-svd"])
def test_what_follows_depends_on_the_given_frames(load: Load, name: str) -> None:
    first, other = a_first_chunk(), a_first_chunk()
    other[-1] = 255 - other[-1]
    one, changed = (video(load(name), 24, first_chunk=given) for given in (first, other))
    assert not np.array_equal(one[16:], changed[16:])


def test_one_that_takes_the_last_frame_reads_no_other(load: Load) -> None:
    first, other = a_first_chunk(), a_first_chunk()
    other[:-1] = 0
    one, changed = (video(load("last_frame"), 24, first_chunk=given) for given in (first, other))
    assert np.array_equal(one[16:], changed[16:])


def test_last_frame_begins_with_the_first_chunk_of_streaming_t2v(load: Load) -> None:
    assert np.array_equal(video(load("last_frame"), 16), video(load("streaming_t2v"), 16))


def test_later_frames_have_the_given_size(load: Load) -> None:
    assert video(load("toy-svd"), 40, first_chunk=a_first_chunk(48)).shape == (40, 48, 48, 3)


def test_image_presets_work_at_about_their_own_size_in_the_given_proportion(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The preset's is 16 x 24; an upright picture would lose most of its height there."""
    sizes, start = list[tuple[int | None, int | None]](), SvdEngine.start

    def noting(self: SvdEngine, spec: JobSpec, inputs: InputMedia) -> EngineState:
        sizes.append((spec.height, spec.width))
        return start(self, spec, inputs)

    monkeypatch.setattr(SvdEngine, "start", noting)
    upright = np.zeros((16, 96, 64, 3), np.uint8)
    assert video(load("toy-svd"), 20, first_chunk=upright).shape == (20, 96, 64, 3)
    assert sizes == [(24, 16)]


@pytest.mark.parametrize("name", ["streaming_t2v", "last_frame"])
def test_a_size_that_a_method_cannot_have_is_named(load: Load, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} goes on from frames of .*32.*, not .*48"):
        video(load(name), 24, first_chunk=a_first_chunk(48))


def test_wrong_first_chunks_and_too_short_videos_are_named(load: Load) -> None:
    with pytest.raises(ValueError, match="a first chunk is 16 RGB frames"):
        video(load("last_frame"), 24, first_chunk=a_first_chunk()[:15])
    with pytest.raises(ValueError, match="16 frames or more, not 15"):
        video(load("free_noise"), 15)


def test_one_that_needs_a_picture_says_so(load: Load) -> None:
    with pytest.raises(MethodError, match="toy-svd needs a first chunk"):
        video(load("toy-svd"), 24)


def test_names_are_strategies_trials_and_presets_that_make_videos(options: MethodOptions) -> None:
    names = method_names(options)
    assert set(names) == {*STRATEGIES, *TRIALS, "toy", "toy-zero", "toy-svd"}
    assert all(method_facts(name, options).name == name for name in names)


def test_an_unknown_name_lists_the_known_ones(options: MethodOptions) -> None:
    for ask in (load_method, method_facts):
        with pytest.raises(MethodError) as refused:
            ask("dreams", options)
        assert all(name in refused.value.with_fix for name in ("'dreams'", "free_noise", "concat", "toy-svd"))
    with pytest.raises(MethodError, match="toy-edit changes a given video"):
        load_method("toy-edit", options)


def test_an_unknown_profile_lists_the_known_ones(options: MethodOptions) -> None:
    slow = replace(options, profile="slow")  # pyright: ignore[reportArgumentType]
    for name in ("streaming_t2v", "free_noise"):
        with pytest.raises(Exception, match="no profile 'slow'") as refused:
            load_method(name, slow)
        assert "fast, reference" in getattr(refused.value, "with_fix", "")


def test_fingerprints_tell_methods_profiles_and_constants_apart(
    load: Load, options: MethodOptions, base: BaseModel
) -> None:
    reference = replace(options, profile="reference")
    lines = [load(name).fingerprint for name in STRATEGIES]
    lines += [load_method(name, reference).fingerprint for name in ("streaming_t2v", "last_frame", "free_noise")]
    assert len(set(lines)) == len(lines)
    assert not any("threads" in line for line in lines)
    assert "guidance 8, at least 12 steps" in load("last_frame").fingerprint
    assert "windows of 16 every 4" in load("free_noise").fingerprint
    assert FreeNoise(base, Windows(16, 8)).fingerprint != load("free_noise").fingerprint


def test_borders_are_where_each_method_begins_anew(load: Load) -> None:
    found = {name: load(name).facts.borders for name in (*STRATEGIES, "toy", "toy-zero", "toy-svd")}
    assert found["streaming_t2v"] == found["toy"] == Borders(16, 8)
    assert found["last_frame"] == Borders(16, 15)
    assert found["text2video_zero"] == found["toy-zero"] == Borders(16, 16)
    assert found["free_noise"] is None
    # Each window of toy-svd begins with the last frame before it, which is left out.
    assert found["toy-svd"] == Borders(16, 14 - 1)


@pytest.fixture(scope="module")
def trial_options(toy_recipe: Recipe, toy_work: Path, tmp_path_factory: pytest.TempPathFactory) -> MethodOptions:
    """Trials of one training step, on a base of smoke steps."""
    budget = Budget(1, 1)
    ablation = Ablation(toy_recipe, toy_work, tmp_path_factory.mktemp("out") / "ablations" / budget.name, budget)
    for variant in STUDIES["ablations"].chosen(list(TRIALS.values())):
        ablation.record(Trial(variant, toy_recipe.seed))
        ablation.train(Trial(variant, toy_recipe.seed))
    return MethodOptions(Settings(torch_threads=1), work=toy_work, trials=ablation.folder, smoke=True)


def test_trials_go_on_from_the_given_frames_each_in_its_own_way(trial_options: MethodOptions) -> None:
    first = a_first_chunk(64)
    methods = {name: load_method(name, trial_options) for name in TRIALS}
    videos = {name: video(method, 40, first_chunk=first) for name, method in methods.items()}
    assert all(len(made) == 40 and np.array_equal(made[:16], first) for made in videos.values())
    assert len({made.tobytes() for made in videos.values()}) == len(TRIALS)
    for name, method in methods.items():
        assert f"; {TRIALS[name]}-seed-" in method.fingerprint
        assert all(part in method.fingerprint for part in ("; base ", "; preset ", "; torch "))
        assert method.facts.borders == Borders(16, 8 if name in WINDOW_TRIALS else 15)


def test_the_image_to_video_trial_goes_on_from_the_last_frame_of_each_clip_guided(
    trial_options: MethodOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, texts = list[Tensor](), list[int]()
    sampled = last_frame_trial.window_denoiser

    def noting(network: Any, context: VideoContext, pictures: Tensor, config: SamplingConfig) -> Denoiser:
        given.append(pictures)
        texts.append(len(context.text_states_BLD))
        return sampled(network, context, pictures, config)

    monkeypatch.setattr(last_frame_trial, "window_denoiser", noting)
    method, first = load_method("last_frame_trial", trial_options), a_first_chunk(64)
    made = video(method, 47, first_chunk=first)
    assert np.array_equal(made[:16], first)
    assert len(given) == 3
    for pictures, last in zip(given, (15, 30, 45), strict=True):
        assert torch.equal(pictures, to_pictures(made[last : last + 1]))
    assert texts == [2, 2, 2]
    # Clips are made when they are asked for: a video of any length keeps one.
    endless = method.chunks(MethodRequest(PROMPT, 1, 10**9), first)
    begun = np.concatenate([next(endless) for _ in range(4)])
    assert np.array_equal(begun[:47], made)
    assert (len(begun), len(given)) == (16 + 3 * 15, 6)


def test_the_image_to_video_trial_reads_no_frame_but_the_last(trial_options: MethodOptions) -> None:
    method = load_method("last_frame_trial", trial_options)
    first, other, changed = a_first_chunk(64), a_first_chunk(64), a_first_chunk(64)
    other[:-1] = 0
    changed[-1] = 255 - changed[-1]
    one, same, different = (video(method, 31, first_chunk=given)[16:] for given in (first, other, changed))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, different)
    with pytest.raises(ValueError, match=r"last_frame_trial goes on from frames of .*64.*, not .*48"):
        video(method, 24, first_chunk=a_first_chunk(48))


def test_the_image_to_video_trial_begins_with_the_first_chunk_of_all_trials(trial_options: MethodOptions) -> None:
    one, other = (video(load_method(name, trial_options), 16) for name in ("last_frame_trial", "cam"))
    assert np.array_equal(one, other)


def test_a_trial_that_is_not_there_says_what_to_run(trial_options: MethodOptions, tmp_path: Path) -> None:
    elsewhere = replace(trial_options, trials=tmp_path / "ablations" / "5-steps-1-processes")
    with pytest.raises(MethodError, match="has 0 of 5 training steps") as refused:
        load_method("additive", elsewhere)
    assert f"longtake evaluate --suite ablations --work {trial_options.work} " in refused.value.with_fix
    assert f"--variants add --seeds 1 --train-steps 5 --processes 1 --out {tmp_path}`" in refused.value.with_fix
    with pytest.raises(MethodError, match="concat is an ablation trial: it needs") as unnamed:
        load_method("concat", replace(trial_options, work=None, trials=None))
    assert "--variants concat" in unnamed.value.with_fix
    with pytest.raises(MethodError, match="last-frame-seed-3 has 0 of 5 training steps") as missing:
        load_method("last_frame_trial", elsewhere)
    assert f"--variants last-frame --seeds 1 --train-steps 5 --processes 1 --out {tmp_path}`" in missing.value.with_fix
    with pytest.raises(MethodError, match="no folder of trials of one budget"):
        load_method("concat", replace(trial_options, trials=tmp_path))


def test_a_trial_on_another_base_is_refused(trial_options: MethodOptions, tmp_path: Path) -> None:
    assert trial_options.work is not None
    other = shutil.copytree(trial_options.work, tmp_path / "other")
    shutil.copy(other / "clip" / "last.pt", other / "sight" / "last.pt")
    with pytest.raises(MethodError, match="was trained on another base"):
        load_method("concat", replace(trial_options, work=other))
