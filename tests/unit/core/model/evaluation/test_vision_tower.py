"""The tower's figures: a scene is like itself, and texts can be compared where the heads were kept."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from core.model.evaluation.vision_tower import Tower, load_tower
from core.model.training import sprites
from core.model.training.export import CLIP_HEADS, save_clip_heads
from core.model.training.recipe import Recipe
from core.model.training.sprites_run import TrainingRun
from tests.helpers.random_preset import write_random_preset


def test_a_still_video_is_its_anchor(tmp_path: Path) -> None:
    tower = load_tower(write_random_preset(tmp_path / "toy"))
    frame = sprites.render(sprites.sample_scene(np.random.default_rng(0)), 1)
    still = tower.measure(frame.repeat(32, axis=0), "a red circle")
    assert still.anchor_likeness == pytest.approx(1, abs=1e-5)
    assert still.anchor_distance == pytest.approx(0, abs=1e-5)
    assert still.text_likeness_at_start is None


def test_another_scene_is_further_from_the_anchor(tmp_path: Path) -> None:
    tower = load_tower(write_random_preset(tmp_path / "toy"))
    scene, other = (sprites.sample_scene(np.random.default_rng(seed)) for seed in (0, 5))
    frames = np.concatenate([sprites.render(scene, 16), sprites.render(other, 16)])
    assert tower.measure(frames, "").anchor_distance > tower.measure(sprites.render(scene, 32), "").anchor_distance


def test_texts_are_compared_with_the_contrastive_stages_heads(
    toy_recipe: Recipe, toy_work: Path, tmp_path: Path
) -> None:
    training_run = TrainingRun(toy_recipe, toy_work)
    words = training_run.words
    frames = sprites.render(sprites.sample_scene(np.random.default_rng(0)), 32)
    likeness = Tower(words.image_encoder, words).measure(frames, "a red circle").text_likeness_at_end
    assert likeness is not None
    assert -1 <= likeness <= 1
    save_clip_heads(training_run, tmp_path / CLIP_HEADS)
    assert set(load_file(tmp_path / CLIP_HEADS)) == set(words.heads.state_dict())
