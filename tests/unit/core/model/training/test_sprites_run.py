"""Every stage at toy sizes: it runs, it resumes to the same weights, and memories do not change the base at step 0."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from core.model.engines.streaming_t2v.loading import load_engine
from core.model.engines.streaming_t2v.network import predict_noise
from core.model.engines.streaming_t2v.preset import StreamingPreset, read_preset
from core.model.networks.base_network import predict_base
from core.model.refinement.loading import load_refiner
from core.model.training.command import main
from core.model.training.distillation_run import last_trained
from core.model.training.distilled_sampling import PART_OF
from core.model.training.loop.checkpoints import CHECKPOINT, StageNotTrained, load_averaged
from core.model.training.loop.plan import Plan
from core.model.training.loop.train import Task, train
from core.model.training.loop.training_log import LOG
from core.model.training.recipe import Recipe, RecipeError, load_recipe, parse_recipe
from core.model.training.sprites_export import export_preset
from core.model.training.sprites_preset import preset_config
from core.model.training.sprites_run import SpritesTrainingRun
from core.model.training.stage_names import DISTILLATION_STAGES, NEEDS, SPRITES_STAGES
from core.model.training.stages.base import sprites_unet
from core.model.training.stages.distillation import DistillationTask
from core.model.training.stages.history import CONDITIONING_FRAMES
from core.model.training.stages.memory import sprites_memory
from core.model.training.stages.vae import VaeTask, sprites_vae
from core.model.training.warm_start import begin_with
from core.service.domain.engine import NO_INPUT_MEDIA, ignore_step
from core.service.domain.refiner import RefineState
from core.service.domain.schema import RefineSpec
from tests.helpers.jobs import job_spec

pytestmark = pytest.mark.timeout(900)
"""The first test waits for the smoke run of all stages."""


Begin = Callable[[str], tuple[SpritesTrainingRun, Task]]


@pytest.fixture(scope="module")
def toy() -> Recipe:
    return load_recipe("sprites").smoke()


@pytest.fixture(scope="module")
def trained(toy: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which the smoke command has run, with its preset."""
    folder = tmp_path_factory.mktemp("work")
    assert main([toy.name, "--smoke", "--out", str(folder)]) == 0
    return folder


def with_stages(trained: Path, folder: Path, stages: Sequence[str]) -> Path:
    """The working folder `folder` with the clips of `trained` and these of its stages only."""
    for file in (*trained.glob("*.safetensors"), *(trained / stage for stage in stages)):
        (folder / file.name).symlink_to(file)
    return folder


@pytest.fixture(scope="module")
def begun(toy: Recipe, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Begin:
    """A stage's task, and its run in a folder of its own with no other stages than it needs; each is built once."""

    @cache
    def begin(stage: str) -> tuple[SpritesTrainingRun, Task]:
        folder = with_stages(trained, tmp_path_factory.mktemp(stage), NEEDS[stage])
        (folder / stage).mkdir()
        training_run = SpritesTrainingRun(toy, folder)
        return training_run, training_run.task(stage)

    return begin


def test_smoke_runs_have_their_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sprites", "--smoke", "--stage", "clip"]) == 0
    assert [folder.name for folder in (tmp_path / "runs").iterdir()] == ["sprites-smoke"]


def toy_vae_task() -> VaeTask:
    torch.manual_seed(0)
    return VaeTask(sprites_vae((8, 8, 8, 8)), seed=1, batch=2)


def toy_plan(steps: int) -> Plan:
    # No cosine and no warm-up: a run cut in two has the same rates as a run in one.
    return Plan(steps=steps, minutes=60, learning_rate=1e-3, final_rate=1.0, warmup_steps=0)


@pytest.mark.parametrize("stage", SPRITES_STAGES)
def test_smoke_trains_every_stage(trained: Path, stage: str) -> None:
    assert (trained / stage / CHECKPOINT).is_file()
    assert json.loads((trained / stage / LOG).read_text().splitlines()[-1])["step"] == 2


@pytest.mark.parametrize(
    "part", ["vae", "unet", "text_encoder", "image_encoder", "cam", "conditioning", "refiner/unet", "refiner/vae"]
)
def test_exported_parts_have_config_and_weights(trained: Path, part: str) -> None:
    folder = trained / "preset" / part
    assert json.loads((folder / "config.json").read_text())
    assert list(folder.glob("*.safetensors"))


def test_exported_preset_has_config_and_tokenizer(trained: Path) -> None:
    config = json.loads((trained / "preset" / "preset.json").read_text())
    assert config["max_prompt_tokens"] == 30
    assert (trained / "preset" / "tokenizer" / "tokenizer.json").is_file()


def test_the_fast_profile_samples_distilled_weights_and_makes_videos(trained: Path) -> None:
    profiles = read_preset(trained / "preset").profiles
    undistilled = StreamingPreset.model_validate(preset_config()).profiles
    assert profiles["reference"] == undistilled["reference"]
    for sampling in (profiles["fast"].windows, profiles["fast"].first_chunk):
        assert (sampling.distilled, sampling.num_inference_steps, sampling.guidance_scale) == (True, 4, 1.0)
    engine = load_engine(trained / "preset", device="cpu", torch_threads=1)
    spec = job_spec(prompt="a red circle moving left", num_frames=24, num_inference_steps=1, guidance_scale=1.0)
    first = engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), ignore_step)
    assert engine.next_chunk(spec, first.state, ignore_step).frames.shape == (8, 64, 64, 3)


def exported_again(recipe: Recipe, trained: Path, folder: Path, *left_out: str) -> Path:
    """A preset exported over a copy of that of `trained`, from a working folder without the stages `left_out`."""
    shutil.copytree(trained, folder)
    for stage in left_out:
        (folder / stage / CHECKPOINT).unlink()
    export_preset(SpritesTrainingRun(recipe, folder), folder / "preset")
    return folder / "preset"


@pytest.fixture(scope="module")
def fewer_parts(toy: Recipe, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset without a decoder, with the guidance of windows as its only adapter."""
    left_out = ("decoder", "window_steps", "first_chunk_guidance", "first_chunk_steps")
    return exported_again(toy, trained, tmp_path_factory.mktemp("fewer") / "work", *left_out)


def test_guidance_alone_is_exported_with_the_steps_unchanged(trained: Path, fewer_parts: Path) -> None:
    fast = read_preset(fewer_parts).profiles["fast"]
    assert (fast.windows.distilled, fast.windows.guidance_scale) == (True, 1.0)
    assert fast.windows.num_inference_steps == preset_config()["profiles"]["fast"]["windows"]["num_inference_steps"]
    assert fast.first_chunk == StreamingPreset.model_validate(preset_config()).profiles["fast"].first_chunk
    assert [file.name for file in (fewer_parts / "distilled").iterdir()] == ["windows.safetensors"]
    assert len(list((trained / "preset" / "distilled").iterdir())) == 2, "there was one to be removed"


@pytest.mark.parametrize("stage", DISTILLATION_STAGES)
def test_only_an_adapter_is_trained_by_distillation(begun: Begin, stage: str) -> None:
    _, task = begun(stage)
    assert isinstance(task, DistillationTask)
    task.loss(0).backward()
    assert set(task.modules) == {"adapter"}
    assert any(weight.grad is not None and weight.grad.any() for weight in task.modules["adapter"].parameters())
    networks = [task.distilled.network, task.distilled.unet]
    assert all(weight.grad is None for network in networks for weight in network.parameters())


def test_exported_refiner_refines(trained: Path) -> None:
    config = read_preset(trained / "preset").refiner
    assert config is not None
    defaults = config.model_dump(include=set(RefineSpec.model_fields))
    refine = RefineSpec(**defaults, schedule="streaming")
    spec = job_spec(prompt="a red circle moving left", num_frames=16, refine=refine)
    preview = np.zeros((16, 64, 64, 3), np.uint8)
    refiner = load_refiner(trained / "preset", device="cpu", torch_threads=1)
    refined = refiner.refine_window(spec, RefineState(), preview, lambda step, steps: None)  # noqa: ARG005 - a port's names
    assert refined.frames.shape == (16, 128, 128, 3)


def test_preset_without_a_trained_refiner_names_none(toy: Recipe, trained: Path, tmp_path: Path) -> None:
    assert (trained / "preset" / "refiner").is_dir()
    preset = exported_again(toy, trained, tmp_path / "work", "refiner")
    assert read_preset(preset).refiner is None
    assert not (preset / "refiner").exists()


def test_preset_without_a_trained_decoder_keeps_none_of_an_earlier_export(trained: Path, fewer_parts: Path) -> None:
    assert (trained / "preset" / "refiner" / "vae").is_dir()
    assert [part.name for part in (fewer_parts / "refiner").iterdir()] == ["unet"]


@pytest.fixture(scope="module")
def initialised(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder initialised from the preset in `trained`, in which `image` and then `video` were trained."""
    folder = tmp_path_factory.mktemp("initialised")
    argv = ["--begin-with", str(trained / "preset"), "--stage", "image", "--stage", "video"]
    assert main(["sprites", "--smoke", "--out", str(folder), *argv]) == 0
    return folder


def test_stages_start_from_the_weights_of_a_preset(toy: Recipe, trained: Path, initialised: Path) -> None:
    ours, theirs = (SpritesTrainingRun(toy, folder) for folder in (initialised, trained))
    pairs = [
        (ours.memory.cam, theirs.memory.cam),
        (ours.contrastive.heads, theirs.contrastive.heads),
        (ours.vae, theirs.vae),
    ]
    pairs += [(ours.refiner, theirs.refiner), (ours.refiner_vae, theirs.refiner_vae)]
    for one, other in pairs:
        own = one.state_dict()
        for name, weight in other.state_dict().items():
            assert torch.equal(own[name], weight.half().to(weight.dtype)), name


def test_an_initialised_stage_is_trained_from_its_weights(initialised: Path) -> None:
    steps = {
        stage: torch.load(initialised / stage / "last.pt", weights_only=True)["step"] for stage in ("image", "video")
    }
    assert steps == {"image": 2, "video": 2}
    assert not (initialised / "sight").exists()


def test_a_stage_that_continues_a_chosen_one_is_not_initialised(toy: Recipe, trained: Path, tmp_path: Path) -> None:
    assert begin_with(SpritesTrainingRun(toy, tmp_path), trained / "preset", ["image", "video", "apm"]) == [
        *("clip", "tower", "vae", "image", "cam", "apm", "decoder", "refiner")
    ]
    assert begin_with(SpritesTrainingRun(toy, tmp_path), trained / "preset", []) == ["video", "first_chunk_steps"]


def test_adapters_are_initialised_with_those_of_a_preset(toy: Recipe, trained: Path, tmp_path: Path) -> None:
    begin_with(SpritesTrainingRun(toy, tmp_path), trained / "preset", ["sight"])
    for stage in ("window_steps", "first_chunk_steps"):
        ours, theirs = (torch.load(folder / stage / "last.pt", weights_only=True) for folder in (tmp_path, trained))
        assert ours["step"] == 0
        for one, other in zip(ours["average"], theirs["average"], strict=True):
            assert torch.equal(one, other.half().float())
        assert last_trained(toy, tmp_path, PART_OF[stage]) == stage
        assert not (tmp_path / stage.replace("steps", "guidance")).exists()


def test_adapters_of_a_preset_are_left_out_where_their_networks_or_teachers_are_trained_anew(
    toy: Recipe, trained: Path, initialised: Path, tmp_path: Path
) -> None:
    assert not (initialised / "window_steps").exists()  # its base was trained there
    begin_with(SpritesTrainingRun(toy, tmp_path), trained / "preset", ["window_guidance"])
    assert not (tmp_path / "window_steps").exists()
    assert (tmp_path / "first_chunk_steps").exists()


def test_few_steps_are_begun_with_their_guidance_only(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = ["sprites", "--smoke", "--out", str(tmp_path), "--begin-with", str(trained / "preset")]
    assert main([*begin, "--stage", "window_steps"]) == 2
    assert "no preset has the stage window_guidance, which window_steps continues" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_preset_weights_of_other_sizes_are_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sprites", "--out", str(tmp_path), "--begin-with", str(trained / "preset"), "--stage", "clip"]) == 2
    assert f"the weights in {trained / 'preset' / 'vae'} do not fit" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_begin_with_is_for_recipes_that_train_from_scratch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["streaming-t2v", "--begin-with", "sprites"]) == 2
    assert "starts from the preset in its [networks]" in capsys.readouterr().err


def test_full_size_refiner_stays_small() -> None:
    unet = sprites_unet(SpritesTrainingRun(load_recipe("sprites"), Path()).networks.refiner_channels)
    assert 2 * sum(weight.numel() for weight in unet.parameters()) <= 8e6


def test_interrupted_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole, parts = toy_vae_task(), toy_vae_task()
    train(whole, toy_plan(4), tmp_path / "whole")
    train(parts, toy_plan(2), tmp_path / "parts")
    resumed = toy_vae_task()
    train(resumed, toy_plan(4), tmp_path / "parts")
    for name, weight in whole.vae.state_dict().items():
        assert torch.equal(weight, resumed.vae.state_dict()[name]), name


def test_averaged_weights_are_what_later_stages_load(tmp_path: Path) -> None:
    task = toy_vae_task()
    train(task, toy_plan(3), tmp_path)
    fresh = toy_vae_task()
    load_averaged(tmp_path, fresh.modules)
    assert all(torch.equal(a, b) for a, b in zip(task.vae.parameters(), fresh.vae.parameters(), strict=True))


def memory_inputs(side: int) -> list[Tensor]:
    """Latents of this side, history pictures, text states and anchor tokens, for two samples."""
    generator = torch.Generator().manual_seed(0)
    pixels = 8 * side
    shapes = (2, 4, 16, side, side), (2, CONDITIONING_FRAMES, 3, pixels, pixels), (2, 32, 64), (2, 2, 64)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def test_memories_do_not_change_the_base_before_training(toy: Recipe, tmp_path: Path) -> None:
    base = SpritesTrainingRun(toy, tmp_path).untrained_unet()
    plain = sprites_unet((16, 16, 16, 16))
    latents, pictures, text, tokens = memory_inputs(side=16)
    timesteps = torch.tensor([10, 900])
    with torch.no_grad():
        ours = plain(latents, timesteps, encoder_hidden_states=text).sample
        for unet in (base, plain):
            memory = sprites_memory(unet, (4, 4, 4, 4), image_tokens=2)
            layers = memory.mixers.layers_of(unet).inject()
            untouched = predict_base(unet, latents, timesteps, text)
            for anchor in (None, tokens):
                args = (unet, memory.cam, memory.mergers, latents, timesteps, text, anchor, pictures)
                assert torch.equal(predict_noise(*args), untouched)
            layers.eject()
        assert torch.equal(plain(latents, timesteps, encoder_hidden_states=text).sample, ours)


def test_memories_change_the_base_only_by_rounding_at_the_size_of_sprites(toy: Recipe, tmp_path: Path) -> None:
    # The deepest of four levels is a single pixel there: see stages/memory.py.
    unet = SpritesTrainingRun(toy, tmp_path).untrained_unet()
    memory = sprites_memory(unet, (4, 4, 4, 4), image_tokens=2)
    memory.mixers.layers_of(unet).inject()
    latents, pictures, text, tokens = memory_inputs(side=8)
    timesteps = torch.tensor([10, 900])
    with torch.no_grad():
        made = predict_noise(unet, memory.cam, memory.mergers, latents, timesteps, text, tokens, pictures)
        base = predict_base(unet, latents, timesteps, text)
    torch.testing.assert_close(made, base, atol=5e-6, rtol=0)


@pytest.mark.parametrize("stage", ["cam", "apm"])
def test_base_is_frozen_in_memory_stages(begun: Begin, stage: str) -> None:
    training_run, task = begun(stage)
    before = {name: weight.clone() for name, weight in training_run.unet.state_dict().items()}
    task.loss(0).backward()
    assert all(parameter.grad is None for parameter in training_run.unet.parameters())
    assert set(task.modules) >= {"cam", "mergers"}
    after = training_run.unet.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


@pytest.mark.parametrize("stage", ["vae", "video", "cam", "apm", "decoder", "refiner", *DISTILLATION_STAGES])
def test_stages_with_pictures_write_samples(trained: Path, stage: str) -> None:
    assert {file.name for file in (trained / stage / "samples").iterdir()} >= {"00000002.png", "00000002.mp4"}


@pytest.mark.parametrize("stage", ["video", "apm", "refiner", "window_guidance", "first_chunk_steps"])
def test_sampling_does_not_change_the_networks(begun: Begin, stage: str) -> None:
    training_run, task = begun(stage)
    sample = training_run.sampler(stage, task)
    assert sample is not None
    before = task.loss(3)
    sample(9)
    assert torch.equal(task.loss(3), before), "nor is a step's loss another the second time"


def test_stage_without_its_predecessor_names_the_missing_one(toy: Recipe, tmp_path: Path) -> None:
    with pytest.raises(StageNotTrained, match="'video'"):
        SpritesTrainingRun(toy, tmp_path).task("cam")


@pytest.mark.parametrize("stage", SPRITES_STAGES)
def test_stage_needs_exactly_the_declared_stages(
    toy: Recipe, trained: Path, begun: Begin, tmp_path: Path, stage: str
) -> None:
    begun(stage)
    for last in NEEDS[stage][-1:]:
        without = SpritesTrainingRun(toy, with_stages(trained, tmp_path, NEEDS[stage][:-1]))
        with pytest.raises(StageNotTrained, match=f"'{last}'"):
            without.task(stage)


def test_unknown_recipe_is_refused_with_the_shipped_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nonsense"]) == 2
    assert "sprites" in capsys.readouterr().err


def test_recipe_with_an_unknown_entry_is_refused() -> None:
    stages = {name: {"batch": 1, "steps": 1, "minutes": 1, "learning_rate": 0.1} for name in SPRITES_STAGES}
    stages["cam"]["warp"] = 9
    with pytest.raises(RecipeError, match="warp"):
        parse_recipe({"name": "x", "stages": stages})


def test_smoke_changes_only_sizes(toy: Recipe) -> None:
    full = load_recipe("sprites")
    assert replace(toy, stages=full.stages, networks=full.networks, data=full.data) == full
    assert all(stage.plan.steps == 2 for stage in toy.stages.values())
