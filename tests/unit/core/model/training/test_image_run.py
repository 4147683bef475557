"""The stages of `sprites-image` at toy size: they start from the shipped weights, train, resume and export."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from tokenizers import Tokenizer

from core.model.presets.files import read_weights
from core.model.sampling.vae import scaling_factor
from core.model.training.command import main
from core.model.training.image_models import ImageModels
from core.model.training.image_run import ImageTrainingRun
from core.model.training.image_samples import first_frames_read
from core.model.training.loop.checkpoints import StageNotTrained
from core.model.training.loop.plan import Plan
from core.model.training.loop.train import train
from core.model.training.recipe import Recipe, load_recipe
from core.model.training.sprites.example_clip import NUM_FRAMES, example_clip
from core.model.training.sprites.example_clip import main as write_example
from core.model.training.stage_names import IMAGE_STAGES
from core.model.training.stages.controlnet import ControlNetTask
from core.model.training.stages.editor import EditorTask
from core.service.video.decode import decode_frames

SHIPPED = Path(__file__).parents[5] / "core/model/presets/sprites"


@pytest.fixture(scope="module")
def toy() -> Recipe:
    return load_recipe("sprites-image").smoke()


@pytest.fixture(scope="module")
def trained(toy: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which the smoke command has run, with its presets."""
    folder = tmp_path_factory.mktemp("work")
    assert main([toy.name, "--smoke", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def models(toy: Recipe, trained: Path) -> ImageModels:
    return ImageModels(toy, trained)


@pytest.mark.parametrize("stage", IMAGE_STAGES)
def test_smoke_trains_every_stage_and_writes_samples(trained: Path, stage: str) -> None:
    assert torch.load(trained / stage / "last.pt", weights_only=True)["step"] == 2
    assert {file.name for file in (trained / stage / "samples").iterdir()} == {"00000002.png", "00000002.mp4"}


def test_the_image_model_starts_with_the_spatial_layers_of_the_video_model(models: ImageModels) -> None:
    video = read_weights(SHIPPED / "unet", torch.device("cpu"))
    own = models.first_unet().state_dict()
    assert all(torch.equal(weight, video[name]) for name, weight in own.items())
    assert {name for name in video if "temp_" not in name and not name.startswith("transformer_in")} == set(own)


def noisy(channels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (2, channels, 8, 8), (2, 32, 64)
    latents, text = (torch.randn(shape, generator=generator) for shape in shapes)
    return latents, torch.tensor([10, 900]), text


def test_edges_change_nothing_before_training(models: ImageModels) -> None:
    latents, timesteps, text = noisy(4)
    untrained: Any = models.first_controlnet()
    with torch.no_grad():
        down, middle = untrained(latents, timesteps, text, torch.rand(2, 3, 64, 64), return_dict=False)
    assert not any(residual.any() for residual in (*down, middle))


def test_the_frame_changes_nothing_before_the_editor_is_trained(models: ImageModels) -> None:
    latents, timesteps, text = noisy(8)
    editor: Any = models.first_editor()[0]
    with torch.no_grad():
        with_frame = editor(latents, timesteps, text).sample
        latents[:, 4:] = 0
        assert torch.equal(editor(latents, timesteps, text).sample, with_frame)


def test_the_editor_starts_with_the_words_of_captions(models: ImageModels) -> None:
    encoder, (known, unknown) = models.first_editor()[1], ("blue", "make")
    own, theirs = (cast("Any", one.get_input_embeddings()).weight for one in (encoder, models.text_encoder))
    ids = models.edit_tokenizer.get_vocab()
    assert torch.equal(own[ids[known]], theirs[models.tokenizer.get_vocab()[known]])
    assert unknown in ids
    assert unknown not in models.tokenizer.get_vocab()


@pytest.mark.parametrize("stage", IMAGE_STAGES)
def test_same_step_gives_the_same_loss(toy: Recipe, trained: Path, stage: str) -> None:
    task = ImageTrainingRun(toy, trained).task(stage)
    assert torch.equal(task.loss(3), task.loss(3))
    assert not torch.equal(task.loss(3), task.loss(4))


def test_an_interrupted_editor_resumes_to_the_same_weights(toy: Recipe, trained: Path, tmp_path: Path) -> None:
    def trained_for(steps: int, folder: Path) -> dict[str, torch.Tensor]:
        plan = Plan(steps=steps, learning_rate=1e-3, final_rate=1.0, warmup_steps=0)
        task = ImageTrainingRun(toy, trained).task("editor")
        train(task, plan, folder)
        assert isinstance(task, EditorTask)
        return {**task.unet.state_dict(), **task.text_encoder.state_dict()}

    whole = trained_for(2, tmp_path / "whole")
    trained_for(1, tmp_path / "parts")
    resumed = trained_for(2, tmp_path / "parts")
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())


def test_only_the_controlnet_is_trained_with_edges(toy: Recipe, trained: Path) -> None:
    task = ImageTrainingRun(toy, trained).task("controlnet")
    assert isinstance(task, ControlNetTask)
    task.loss(0).backward()
    assert all(weight.grad is None for network in (task.unet, task.text_encoder) for weight in network.parameters())
    assert any(weight.grad is not None for weight in task.controlnet.parameters())


def test_edges_need_the_image_model(toy: Recipe, tmp_path: Path) -> None:
    with pytest.raises(StageNotTrained, match="'image2d'"):
        ImageTrainingRun(toy, tmp_path).task("controlnet")


def test_exported_networks_load_with_the_library(trained: Path) -> None:
    zero, edit = trained / "presets" / "sprites-zero", trained / "presets" / "sprites-edit"
    assert UNet2DConditionModel.from_pretrained(zero / "unet").config["in_channels"] == 4
    assert UNet2DConditionModel.from_pretrained(edit / "unet").config["in_channels"] == 8
    assert ControlNetModel.from_pretrained(zero / "controlnet" / "canny").config["conditioning_channels"] == 3
    for folder in (zero, edit):
        scheduler: Any = DDIMScheduler.from_pretrained(folder / "scheduler")
        assert scheduler.config.prediction_type == "v_prediction"
        assert float(scheduler.alphas_cumprod[-1]) < 1e-6
        assert json.loads((folder / "preset.json").read_text())["shares"] == "sprites"
    assert Tokenizer.from_file(str(edit / "tokenizer" / "tokenizer.json")).encode("make it blue").ids


def test_presets_whose_stages_are_not_trained_are_not_written(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "editor").symlink_to(trained / "editor")
    argv = ["sprites-image", "--smoke", "--stage", "editor", "--out", str(tmp_path / "work")]
    assert main([*argv, "--export", str(tmp_path / "presets")]) == 0
    assert [folder.name for folder in (tmp_path / "presets").iterdir()] == ["sprites-edit"]


def test_samples_leave_the_networks_as_they_were(models: ImageModels) -> None:
    latents, timesteps, text = noisy(4)
    unet: Any = models.first_unet()
    with torch.no_grad():
        before = unet(latents, timesteps, text).sample
        with first_frames_read(unet):
            pass
        assert torch.equal(unet(latents, timesteps, text).sample, before)


def test_latents_are_scaled_as_the_shipped_autoencoder_says(models: ImageModels) -> None:
    clean = models.bank.latents([(number, "red") for number in range(4)])
    assert 0.3 < float(clean.std()) * scaling_factor(models.vae) < 3


def test_smoke_changes_only_sizes(toy: Recipe) -> None:
    full = load_recipe("sprites-image")
    assert replace(toy, stages=full.stages, data=full.data) == full


def test_the_example_clip_is_a_red_square_that_moves(tmp_path: Path) -> None:
    write_example(tmp_path / "examples" / "clip.mp4")
    frames = decode_frames(tmp_path / "examples" / "clip.mp4")
    assert frames.shape == (NUM_FRAMES, 64, 64, 3)
    assert np.abs(frames.astype(int) - example_clip()).mean() < 12
    assert not np.array_equal(frames[0], frames[10])
