"""The synthetic world: same seed, same scene; the truth it tells is what it draws; held-out stays held out."""

from itertools import product

import numpy as np
import pytest

from core.model.training import sprites


def scene_of(seed: int, split: sprites.Split = "train") -> sprites.Scene:
    return sprites.sample_scene(np.random.default_rng(seed), split)


def colourful_centre(frame: sprites.Pixels) -> tuple[float, float]:
    """Centre (x, y) of the coloured pixels on the torus; backgrounds are grey."""
    spread = frame.max(axis=2).astype(int) - frame.min(axis=2)
    rows, columns = np.nonzero(spread > 60)
    turn = 2 * np.pi / sprites.SIZE
    x, y = (np.angle(np.exp(1j * turn * (axis + 0.5)).mean()) / turn % sprites.SIZE for axis in (columns, rows))
    return float(x), float(y)


def torus_gap(first: float, second: float) -> float:
    return abs((first - second + sprites.SIZE / 2) % sprites.SIZE - sprites.SIZE / 2)


def test_same_seed_gives_same_scene_and_pixels() -> None:
    assert scene_of(5) == scene_of(5)
    assert np.array_equal(sprites.render(scene_of(5), 3), sprites.render(scene_of(5), 3))


def test_different_seeds_give_different_scenes() -> None:
    assert len({scene_of(seed) for seed in range(50)}) == 50


def test_frames_are_the_same_whether_drawn_at_once_or_later() -> None:
    scene = scene_of(1)
    assert np.array_equal(sprites.render(scene, 40)[25:], sprites.render(scene, 15, first_frame=25))


@pytest.mark.parametrize("seed", range(12))
def test_object_is_drawn_where_the_truth_says(seed: int) -> None:
    scene = scene_of(seed)
    for index, frame in enumerate(sprites.render(scene, 5)):
        x, y = colourful_centre(frame)
        place = sprites.truth(scene, index)
        assert torus_gap(x, place.x) < 1.5
        assert torus_gap(y, place.y) < 4.0  # a triangle's middle of mass lies below its box's


@pytest.mark.parametrize(("motion", "step"), sprites.MOTIONS.items())
def test_motion_goes_where_its_name_says(motion: str, step: tuple[int, int]) -> None:
    scene = next(s for seed in range(200) if (s := scene_of(seed)).motion == motion)
    before, after = sprites.truth(scene, 0), sprites.truth(scene, 1)
    moved_x = (after.x - before.x + 32) % 64 - 32
    moved_y = (after.y - before.y + 32) % 64 - 32
    assert np.sign([round(moved_x, 3), round(moved_y, 3)]).tolist() == list(step)


def test_motion_never_ends() -> None:
    scene = scene_of(3)
    far = sprites.truth(scene, 100_000)
    assert 0 <= far.x < sprites.SIZE
    assert 0 <= far.y < sprites.SIZE


@pytest.mark.parametrize("seed", range(8))
def test_object_crosses_the_middle_in_the_first_16_frames_without_wrapping(seed: int) -> None:
    scene = scene_of(seed)
    step_x, step_y = sprites.MOTIONS[scene.motion]
    track = [sprites.truth(scene, frame) for frame in range(16)]
    along = [(place.x - 32) * step_x + (place.y - 32) * step_y for place in track]
    assert along[0] < 0 < along[-1]
    assert np.allclose(np.diff(along), scene.speed)


def test_later_scene_goes_on_where_the_first_one_was() -> None:
    scene = scene_of(2)
    whole = sprites.render(scene, 12).astype(int)
    assert np.abs(sprites.render(sprites.later(scene, 7), 5).astype(int) - whole[7:]).max() <= 1


def test_only_a_clip_that_does_not_begin_at_its_start_still_moves() -> None:
    scene = scene_of(4)
    for template in range(len(sprites.TEMPLATES)):
        assert "still" not in sprites.caption(scene, template)
        assert "still mov" in sprites.caption(scene, template, from_the_start=False)


def test_backwards_scene_shows_the_frames_backwards() -> None:
    scene, backwards = next(
        (s, b) for seed in range(50) if (b := sprites.reversed_scene(s := scene_of(seed), 16)) is not None
    )
    forward = sprites.render(scene, 16).astype(int)
    assert np.abs(sprites.render(backwards, 16).astype(int)[::-1] - forward).max() <= 1


def test_backwards_scene_is_never_a_held_out_one() -> None:
    for seed in range(300):
        backwards = sprites.reversed_scene(scene_of(seed), 16)
        if backwards is not None:
            assert not sprites.is_held_out(backwards.shape, backwards.colour, backwards.motion, backwards.background)


def test_splits_do_not_share_a_combination() -> None:
    for seed in range(200):
        for split in ("train", "held_out"):
            scene = scene_of(seed, split)
            held = sprites.is_held_out(scene.shape, scene.colour, scene.motion, scene.background)
            assert held == (split == "held_out")


def test_every_word_is_still_trained_on() -> None:
    values = (sprites.SHAPES, tuple(sprites.COLOURS), tuple(sprites.MOTIONS), sprites.BACKGROUNDS)
    held = [combination for combination in product(*values) if sprites.is_held_out(*combination)]
    assert 8 <= len(held) <= 20
    for place, words in enumerate(values):
        for word in words:
            share = sum(combination[place] == word for combination in held)
            assert share <= len(held) // 2


@pytest.mark.parametrize("template", range(len(sprites.TEMPLATES)))
def test_caption_names_what_is_seen_and_not_the_texture(template: int) -> None:
    scene = scene_of(8)
    text = sprites.caption(scene, template)
    for word in (scene.colour, scene.shape, scene.motion, scene.background):
        assert word in text
    assert scene.texture not in text


def test_background_tiles_the_torus() -> None:
    for name in sprites.BACKGROUNDS:
        ground = sprites.background(name)
        assert np.allclose(np.roll(ground, 32, axis=(0, 1)), ground, atol=1e-3)
