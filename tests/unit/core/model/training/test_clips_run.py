"""Training on the user's own videos, with a toy of the published architecture: it trains, resumes and exports."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.model.engines.streaming_t2v.loading import load_engine
from core.model.engines.streaming_t2v.network import predict_noise
from core.model.engines.streaming_t2v.preset import StreamingPreset, read_preset
from core.model.networks.base_network import predict_base
from core.model.networks.blocks import set_gradient_checkpointing
from core.model.training.clips.clip_cache import SKIPPED
from core.model.training.clips.memory_stages import ClipsMemoryTask
from core.model.training.clips_export import export_clips_preset
from core.model.training.clips_run import ClipsTrainingRun
from core.model.training.command import main, shortened
from core.model.training.recipe import ClipsData, PresetNetworks, Recipe, load_recipe
from core.model.training.stage_names import DISTILLATION_STAGES
from core.service.domain.engine import NO_INPUT_MEDIA
from tests.helpers.clips import clip
from tests.helpers.jobs import job_spec
from tests.helpers.presets import change_preset
from tests.helpers.random_preset import write_random_preset

RECIPE = """
name = "mine"
seed = 1
[networks]
source = "preset"
preset = "{preset}"
gradient_checkpointing = true
[data]
source = "clips"
folder = "clips"
height = 64
width = 64
fps = 8
frames_per_clip = 34
[stages.cam]
batch = 1
accumulate = 2
steps = 2
learning_rate = 1e-3
final_rate = 1.0
[stages.apm]
batch = 2
steps = 2
learning_rate = 1e-3
final_rate = 1.0
[stages.window_guidance]
batch = 2
rank = 2
steps = 2
learning_rate = 1e-2
final_rate = 1.0
[stages.window_steps]
batch = 2
rank = 2
few_steps = {{ steps = 2, teacher_steps = 4 }}
steps = 2
learning_rate = 1e-2
[stages.first_chunk_guidance]
batch = 2
rank = 2
steps = 2
learning_rate = 1e-2
[stages.first_chunk_steps]
batch = 2
rank = 2
few_steps = {{ steps = 2, teacher_steps = 4, teacher = "guided" }}
steps = 2
learning_rate = 1e-2
"""
EPSILON = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe beside its preset and its clips: three good ones, a short one and a damaged one."""
    root = tmp_path_factory.mktemp("own")
    preset = write_random_preset(root / "toy", num_inference_steps=1)
    change_preset(preset, scheduler={**EPSILON, "prediction_type": "epsilon"})
    (root / "clips" / "walks").mkdir(parents=True)
    for name, num_frames in {"a": 34, "b": 32, "walks/c": 40, "short": 12, "damaged": 40}.items():
        clip(root / "clips" / f"{name}.mp4", num_frames, fps=8)
    damaged = root / "clips" / "damaged.mp4"
    damaged.write_bytes(damaged.read_bytes()[:900])
    names = ["a", "b", "walks/c", "short", "damaged"]
    lines = [json.dumps({"file": f"{name}.mp4", "caption": f"a red circle, {name}"}) for name in names]
    (root / "clips" / "captions.jsonl").write_text("\n".join(lines))
    (root / "recipe.toml").write_text(RECIPE.format(preset=preset))
    return root / "recipe.toml"


@pytest.fixture(scope="module")
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(str(recipe_file))


@pytest.fixture(scope="module")
def trained(recipe_file: Path) -> Path:
    """A working folder in which the command has run."""
    folder = recipe_file.parent / "work"
    assert main([str(recipe_file), "--out", str(folder)]) == 0
    return folder


def checkpoint(folder: Path, stage: str) -> dict[str, Any]:
    return torch.load(folder / stage / "last.pt", weights_only=True)


def test_a_resumed_run_ends_with_the_same_weights(recipe_file: Path, trained: Path, tmp_path: Path) -> None:
    whole = checkpoint(trained, "cam")
    shutil.copytree(trained / "cache", tmp_path / "cache")
    for steps in ("1", "2"):
        assert main([str(recipe_file), "--stage", "cam", "--steps", steps, "--out", str(tmp_path)]) == 0
    parts = checkpoint(tmp_path, "cam")
    assert parts["step"] == whole["step"] == 2
    for part, weights in whole["modules"].items():
        assert all(torch.equal(weights[name], parts["modules"][part][name]) for name in weights)


# One of each kind of stage, and of each kind of network.
@pytest.mark.parametrize("stage", ["window_steps", "first_chunk_guidance"])
def test_a_resumed_distillation_ends_with_the_same_adapter(
    recipe: Recipe, trained: Path, tmp_path: Path, stage: str
) -> None:
    shutil.copytree(trained, tmp_path / "work", ignore=shutil.ignore_patterns(stage, "preset"))
    whole = checkpoint(trained, stage)
    for steps in (1, whole["step"]):
        assert ClipsTrainingRun(shortened(recipe, steps, None), tmp_path / "work").run(stage) == steps
    parts = checkpoint(tmp_path / "work", stage)["modules"]["adapter"]
    assert all(torch.equal(weight, parts[name]) for name, weight in whole["modules"]["adapter"].items())
    assert any(name.endswith(".up") and weight.any() for name, weight in parts.items())


def test_distillation_changes_neither_the_exported_memories_nor_the_base(
    recipe_file: Path, trained: Path, tmp_path: Path
) -> None:
    without = tmp_path / "without"
    shutil.copytree(trained, without, ignore=shutil.ignore_patterns(*DISTILLATION_STAGES, "preset"))
    assert main([str(recipe_file), "--stage", "apm", "--out", str(without), "--export", str(without / "preset")]) == 0
    assert not (without / "preset" / "distilled").exists()
    for part in ("unet", "cam", "conditioning", "first_chunk_unet"):
        file = f"preset/{part}/model.safetensors"
        assert (without / file).read_bytes() == (trained / file).read_bytes()


def test_the_exported_profile_samples_the_distilled_weights_in_few_steps(trained: Path) -> None:
    profiles, before = read_preset(trained / "preset").profiles, read_preset(trained.parent / "toy").profiles
    assert profiles["reference"] == before["reference"]
    for sampling in (profiles["fast"].windows, profiles["fast"].first_chunk):
        assert (sampling.distilled, sampling.num_inference_steps, sampling.guidance_scale) == (True, 2, 1.0)
        assert (sampling.sampler, sampling.eta, sampling.timestep_spacing) == ("ddim", 0.0, "trailing")


def test_unusable_clips_are_listed_with_the_reason(trained: Path) -> None:
    (list_file,) = trained.glob(f"cache/*/{SKIPPED}")
    reasons = {entry["file"]: entry["reason"] for entry in map(json.loads, list_file.read_text().splitlines())}
    assert set(reasons) == {"short.mp4", "damaged.mp4"}
    assert reasons["short.mp4"].startswith("too short: 12 frames")


def test_a_second_run_encodes_nothing_again(recipe: Recipe, trained: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in trained.glob("cache/*/*/*")}
    assert len(ClipsTrainingRun(recipe, trained).cache.clips) == 3
    assert before == {file: file.stat().st_mtime_ns for file in trained.glob("cache/*/*/*")}


def test_every_clip_is_used_once_before_any_is_used_again(recipe: Recipe, trained: Path) -> None:
    cache = ClipsTrainingRun(recipe, trained).cache
    order = [cache.clip_at(position) for position in range(9)]
    assert all(sorted(order[first : first + 3]) == [0, 1, 2] for first in (0, 3, 6))


def test_temporal_layers_are_frozen_and_spatial_ones_trained(recipe: Recipe, trained: Path) -> None:
    training_run = ClipsTrainingRun(recipe, trained)
    before, after = training_run.untrained_unet().state_dict(), training_run.trained()[0].state_dict()
    changed = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert any(".attentions." in name for name in changed)
    assert not [name for name in changed if "temp_" in name or name.startswith("transformer_in")]


def test_the_exported_preset_makes_videos(trained: Path) -> None:
    engine = load_engine(trained / "preset", device="cpu", torch_threads=1)
    spec = job_spec(num_frames=24, num_inference_steps=1)
    first = engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), lambda _step, _steps: None)
    assert engine.next_chunk(spec, first.state, lambda _step, _steps: None).frames.shape == (8, 64, 64, 3)


def test_the_exported_first_chunk_unet_is_the_original_base(recipe: Recipe, trained: Path) -> None:
    original = ClipsTrainingRun(recipe, trained).preset_folder.weights / "unet" / "model.safetensors"
    assert (trained / "preset/first_chunk_unet/model.safetensors").read_bytes() == original.read_bytes()


def exported_preset(recipe: Recipe, trained: Path, target: Path) -> StreamingPreset:
    export_clips_preset(ClipsTrainingRun(recipe, trained), target)
    return read_preset(target)


def test_the_exported_preset_has_the_clips_size_and_rate_and_refines_to_their_aspect_ratio(
    recipe: Recipe, trained: Path, tmp_path: Path
) -> None:
    assert isinstance(recipe.data, ClipsData)
    wide = replace(recipe, data=replace(recipe.data, width=96, fps=12))
    preset = exported_preset(wide, trained, tmp_path)
    assert preset.refiner is not None
    assert (preset.width, preset.height, preset.fps) == (96, 64, 12)
    assert (preset.refiner.width, preset.refiner.height) == (168, 112)
    assert (tmp_path / "refiner").is_dir()


def test_the_exported_preset_names_no_refiner_that_is_not_installed(
    recipe: Recipe, trained: Path, tmp_path: Path
) -> None:
    assert isinstance(recipe.networks, PresetNetworks)
    shutil.copytree(recipe.networks.preset, tmp_path / "toy", ignore=shutil.ignore_patterns("refiner"))
    without = replace(recipe, networks=replace(recipe.networks, preset=str(tmp_path / "toy")))
    shutil.copytree(trained / "preset", tmp_path / "mine")
    assert (tmp_path / "mine/refiner").is_dir()
    assert exported_preset(without, trained, tmp_path / "mine").refiner is None
    assert not (tmp_path / "mine/refiner").exists()


def test_samples_are_written(trained: Path) -> None:
    assert {file.name for file in (trained / "cam/samples").iterdir()} == {"00000002.png", "00000002.mp4"}


def test_new_memories_leave_the_base_bit_equal(recipe: Recipe, tmp_path: Path) -> None:
    training_run = ClipsTrainingRun(recipe, tmp_path)
    unet = training_run.untrained_unet()
    memory = training_run.untrained_memory(unet)
    memory.mixers.layers_of(unet).inject()
    generator = torch.Generator().manual_seed(0)
    latents, pictures, text, tokens = (
        torch.randn(shape, generator=generator)
        for shape in ((2, 4, 16, 16, 16), (2, 8, 3, 128, 128), (2, 24, 32), (2, 4, 32))
    )
    timesteps = torch.tensor([10, 900])
    with torch.no_grad():
        made = predict_noise(unet, memory.cam, memory.mergers, latents, timesteps, text, tokens, pictures)
        assert torch.equal(made, predict_base(unet, latents, timesteps, text))


def gradients(task: ClipsMemoryTask, checkpointing: bool) -> list[torch.Tensor]:
    for network in (task.unet, task.memory.cam):
        set_gradient_checkpointing(network, checkpointing)
    weights = [weight for module in task.modules.values() for weight in module.parameters() if weight.requires_grad]
    return list(torch.autograd.grad(task.loss(0), weights, allow_unused=True, materialize_grads=True))


def test_gradient_checkpointing_changes_no_gradient(recipe: Recipe, trained: Path) -> None:
    task = ClipsTrainingRun(recipe, trained).task("apm")
    kept, recomputed = gradients(task, False), gradients(task, True)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(kept, recomputed, strict=True))


def test_the_preset_that_training_starts_from_is_not_overwritten(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = recipe_file.parent / "toy"
    assert main([str(recipe_file), "--out", str(tmp_path), "--export", str(preset)]) == 2
    assert "choose another folder" in capsys.readouterr().err
    assert (preset / "vae").is_dir()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_mismatched_captions_are_refused_before_the_first_step(
    recipe_file: Path, tmp_path: Path, processes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lonely.mp4").touch()
    (tmp_path / "captions.jsonl").write_text('{"file": "gone.mp4", "caption": "a circle"}')
    argv = [str(recipe_file), "--clips", str(tmp_path), "--out", str(tmp_path / "work"), "--processes", processes]
    assert main(argv) == 2
    message = capsys.readouterr().err
    assert "lonely.mp4" in message
    assert "gone.mp4" in message
    assert not (tmp_path / "work").exists()


def test_pretrained_memories_come_from_the_preset(recipe_file: Path, tmp_path: Path) -> None:
    text = recipe_file.read_text().replace("gradient_checkpointing", 'memory = "pretrained"\ngradient_checkpointing')
    pretrained = recipe_file.with_name("pretrained.toml")
    pretrained.write_text(text)
    training_run = ClipsTrainingRun(load_recipe(str(pretrained)), tmp_path)
    memory = training_run.untrained_memory(training_run.untrained_unet())
    # New memories would be zero.
    assert memory.mergers.mid.proj_out.weight.any()
    assert all(weight.requires_grad for weight in memory.cam.parameters())


def test_a_recipe_of_distillation_alone_continues_the_memories_of_its_folder(
    recipe: Recipe, trained: Path, tmp_path: Path
) -> None:
    assert isinstance(recipe.networks, PresetNetworks)
    stages = {name: recipe.stages[name] for name in DISTILLATION_STAGES}
    alone = replace(recipe, networks=replace(recipe.networks, memory="pretrained"), stages=stages)
    ours, theirs = ClipsTrainingRun(alone, trained).trained(), ClipsTrainingRun(recipe, trained).trained()
    pairs = [(ours[0], theirs[0]), (ours[1].adapted, theirs[1].adapted)]
    for one, other in pairs:
        own = one.state_dict()
        assert all(torch.equal(weight, own[name]) for name, weight in other.state_dict().items())
    assert checkpoint(trained, "apm")["origin"]["memory"] == "new"
    assert ClipsTrainingRun(alone, tmp_path).keeps_memory


def test_distillation_of_the_full_size_model_is_a_recipe_of_its_own() -> None:
    memories, distillation = load_recipe("streaming-t2v"), load_recipe("streaming-t2v-distil")
    assert memories.stage_names == ("cam", "apm")
    assert distillation.stage_names == DISTILLATION_STAGES
    assert distillation.data == memories.data
