"""What the tower is to read from pictures, against the world itself."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.model.training.recipe import load_recipe
from core.model.training.sprites import world
from core.model.training.sprites.motion import sprite_positions
from core.model.training.sprites.rendering import CONTRAST, render, surface
from core.model.training.sprites.scene_sampling import sample_scene
from core.model.training.sprites.word_tokenizer import build_tokenizer
from core.model.training.sprites_models import SpritesModels
from core.model.training.stages.base import sprites_text_encoder
from core.model.training.stages.contrastive import (
    ContrastiveBatch,
    ContrastiveTask,
    contrastive_batch,
    sprites_image_encoder,
)
from core.model.training.stages.tower import STAGE, TowerTask, surface_batch

PATCH = 8


def scene_of(seed: int, step: int) -> tuple[world.Scene, int]:
    """The first scene of a batch, and its frame."""
    rng = np.random.default_rng((seed, STAGE, step))
    return sample_scene(rng), int(rng.integers(200))


def tower_task() -> TowerTask:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    text_encoder = sprites_text_encoder(tokenizer.get_vocab_size())
    return TowerTask(ContrastiveTask(text_encoder, sprites_image_encoder(), tokenizer, seed=1, batch=2), 1, batch=3)


def test_a_batch_depends_on_seed_and_step_only() -> None:
    one, again, other = (surface_batch(1, step, 2, PATCH) for step in (5, 5, 6))
    assert torch.equal(one.pictures_b3pr, again.pictures_b3pr)
    assert torch.equal(one.patches_bkd, again.patches_bkd)
    assert not torch.equal(one.pictures_b3pr, other.pictures_b3pr)


@pytest.mark.parametrize("step", range(6))
def test_surfaces_are_those_of_the_sprites_shown(step: int) -> None:
    scene, _ = scene_of(1, step)
    batch = surface_batch(1, step, 1, PATCH)
    points = np.linspace(-7, 7, 8, dtype=np.float32)
    for row, sprite in enumerate(scene.sprites):
        expected = surface(sprite, *np.meshgrid(points, points)).ravel()
        np.testing.assert_allclose(batch.surfaces_bsg[0, row], expected, atol=1e-5)
    assert torch.isnan(batch.surfaces_bsg[0, len(scene.sprites) :]).all()


@pytest.mark.parametrize("step", range(6))
def test_patches_point_at_the_centre_of_the_object_that_they_show(step: int) -> None:
    scene, frame = scene_of(1, step)
    batch = surface_batch(1, step, 1, PATCH)
    rows = world.SIZE // PATCH
    coverage, offsets, _ = batch.patches_bkd[0].unflatten(0, (rows, rows)).split([1, 2, 16], dim=-1)
    for position in sprite_positions(scene, frame):
        column, row = int(position.x % world.SIZE) // PATCH, int(position.y % world.SIZE) // PATCH
        assert coverage[row, column] > 0.9
        middle = torch.tensor([column, row]) * PATCH + PATCH / 2
        from_centre = (middle - torch.tensor([position.x, position.y]) + 32) % 64 - 32
        torch.testing.assert_close(offsets[row, column] * 16, from_centre.float(), atol=1.0, rtol=0)


def test_patterns_begin_with_more_contrast_and_end_with_the_worlds() -> None:
    scene, frame = scene_of(1, 0)
    plain = render(scene, 1, frame)
    assert np.abs(render(scene, 1, frame, contrast=CONTRAST).astype(int) - plain).max() == 0
    assert render(scene, 1, frame, contrast=0.45).std() > plain.std()
    late = surface_batch(1, 10_000, 1, PATCH)
    scene, frame = scene_of(1, 10_000)
    drawn = torch.from_numpy(render(scene, 1, frame)[0]).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(late.pictures_b3pr[0], drawn)


def test_it_trains_the_image_encoder_and_leaves_the_text_encoder_alone() -> None:
    task = tower_task()
    task.loss(0).backward()
    assert all(weight.grad is None for weight in task.contrastive.text_encoder.parameters())
    assert all(weight.grad is not None for weight in task.heads.parameters())
    weights = dict(task.image_encoder.named_parameters())
    assert weights["vision_model.embeddings.patch_embedding.weight"].grad is not None


def test_reading_the_truth_has_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With perfect heads only the contrastive losses are left."""
    task = tower_task()
    batch = surface_batch(1, 0, 3, PATCH)
    monkeypatch.setattr(task.contrastive, "loss_of", no_loss)
    task.heads["surface"] = Says(batch.surfaces_bsg.nan_to_num().flatten(1))
    task.heads["patch"] = Says(batch.patches_bkd)
    assert float(task.loss(0)) == pytest.approx(0, abs=1e-10)
    assert float(task.loss(1)) > 1


def test_half_as_many_clips_are_read_and_the_contrastive_stage_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = SpritesModels(load_recipe("sprites").smoke(), tmp_path)
    contrastive = models.untrained_contrastive()
    contrastive.batch = 5
    task = models.tower_task(contrastive)
    assert contrastive.batch == 5
    seen = list[list[str]]()

    def note(batch: ContrastiveBatch) -> torch.Tensor:
        seen.append(batch.texts)
        return no_loss(batch)

    monkeypatch.setattr(contrastive, "loss_of", note)
    task.loss(0)
    TowerTask(contrastive, 1, batch=6).loss(7)
    seed = models.recipe.seed
    assert seen == [contrastive_batch(seed, 0, 2).texts, contrastive_batch(seed, 7, 3).texts]


def no_loss(_: ContrastiveBatch) -> torch.Tensor:
    return torch.zeros(())


class Says(torch.nn.Module):
    """Always returns the same."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.answer
