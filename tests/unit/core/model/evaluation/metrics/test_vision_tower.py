"""Similarities by the vision tower: to the anchor, and to the prompt if the preset has heads."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from core.model.evaluation.metrics.vision_tower import VisionTower, load_tower
from core.model.training.preset_files import save_weights
from core.model.training.recipe import Recipe
from core.model.training.sprites.rendering import render
from core.model.training.sprites.scene_sampling import sample_scene
from core.model.training.sprites_export import CLIP_HEADS
from core.model.training.sprites_models import SpritesModels
from tests.helpers.random_preset import write_random_preset


def test_a_still_video_is_its_anchor(tmp_path: Path) -> None:
    tower = load_tower(write_random_preset(tmp_path / "toy"))
    frame = render(sample_scene(np.random.default_rng(0)), 1)
    still = tower.measure(frame.repeat(32, axis=0), "a red circle")
    assert still.anchor_likeness == pytest.approx(1, abs=1e-5)
    assert still.anchor_distance == pytest.approx(0, abs=1e-5)
    assert still.text_likeness_at_start is None


def test_another_scene_is_further_from_the_anchor(tmp_path: Path) -> None:
    tower = load_tower(write_random_preset(tmp_path / "toy"))
    scene, other = (sample_scene(np.random.default_rng(seed)) for seed in (0, 5))
    frames = np.concatenate([render(scene, 16), render(other, 16)])
    assert tower.measure(frames, "").anchor_distance > tower.measure(render(scene, 32), "").anchor_distance


def test_texts_are_compared_with_the_contrastive_stages_heads(
    toy_recipe: Recipe, toy_work: Path, tmp_path: Path
) -> None:
    contrastive = SpritesModels(toy_recipe, toy_work).contrastive
    frames = render(sample_scene(np.random.default_rng(0)), 32)
    likeness = VisionTower(contrastive.image_encoder, contrastive).measure(frames, "a red circle").text_likeness_at_end
    assert likeness is not None
    assert -1 <= likeness <= 1
    save_weights(contrastive.heads, tmp_path / CLIP_HEADS)
    assert set(load_file(tmp_path / CLIP_HEADS)) == set(contrastive.heads.state_dict())
