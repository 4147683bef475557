"""The synthetic world: seeds determine scenes, positions match the rendered frames, held-out scenes stay held out."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from core.model.training.sprites import world
from core.model.training.sprites.motion import reversed_scene, scene_from, sprite_positions
from core.model.training.sprites.rendering import render
from core.model.training.sprites.scene_sampling import sample_scene
from core.service.domain.engine import FramesTHWC


def scene_of(seed: int, split: world.Split = "train") -> world.Scene:
    return sample_scene(np.random.default_rng(seed), split)


def scenes_with(motion: str, count: int = 3) -> list[world.Scene]:
    """Scenes of one sprite with this motion."""
    alone = (scene for seed in range(2000) if len((scene := scene_of(seed)).sprites) == 1)
    return [scene for scene in alone if scene.sprites[0].motion == motion][:count]


def track(scene: world.Scene, num_frames: int = 16) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Steps (x, y) of the first sprite from frame to frame, the shortest way on the torus [T-1, 2]."""
    places = np.array([(place.x, place.y) for f in range(num_frames) for place in sprite_positions(scene, f)[:1]])
    return (np.diff(places, axis=0) + world.SIZE / 2) % world.SIZE - world.SIZE / 2


def colourful_centre(frame: FramesTHWC) -> tuple[float, float]:
    """Centre (x, y) of the coloured pixels on the torus; backgrounds are grey."""
    spread = frame.max(axis=2).astype(int) - frame.min(axis=2)
    rows, columns = np.nonzero(spread > 60)
    turn = 2 * np.pi / world.SIZE
    x, y = (np.angle(np.exp(1j * turn * (axis + 0.5)).mean()) / turn % world.SIZE for axis in (columns, rows))
    return float(x), float(y)


def torus_gap(first: float, second: float) -> float:
    return abs((first - second + world.SIZE / 2) % world.SIZE - world.SIZE / 2)


def test_same_seed_gives_same_scene_and_pixels() -> None:
    assert scene_of(5) == scene_of(5)
    assert np.array_equal(render(scene_of(5), 3), render(scene_of(5), 3))


def test_different_seeds_give_different_scenes() -> None:
    assert len({scene_of(seed) for seed in range(50)}) == 50


def test_frames_are_the_same_whether_drawn_at_once_or_later() -> None:
    scene = scene_of(1)
    assert np.array_equal(render(scene, 40)[25:], render(scene, 15, first_frame=25))


@pytest.mark.parametrize("motion", world.MOTIONS)
def test_object_is_drawn_at_its_position(motion: str) -> None:
    for scene in scenes_with(motion):
        for index, frame in enumerate(render(scene, 5)):
            x, y = colourful_centre(frame)
            (place,) = sprite_positions(scene, index)
            assert torus_gap(x, place.x) < 1.5
            assert torus_gap(y, place.y) < 4.0  # a triangle's centre of mass lies below its centre


@pytest.mark.parametrize("motion", world.DIRECTIONS)
def test_straight_motion_goes_where_its_name_says_and_crosses_the_middle(motion: str) -> None:
    for scene in scenes_with(motion):
        (sprite,) = scene.sprites
        assert np.allclose(track(scene), sprite.speed * np.array(world.DIRECTIONS[motion]))
        (crossing,) = sprite_positions(scene, 8)
        assert torus_gap(crossing.x, 32) < 6
        assert torus_gap(crossing.y, 32) < 6


def test_paces_have_separate_speeds() -> None:
    speeds = {
        pace: [s.sprites[0].speed for s in scenes_with("left", 60) if s.sprites[0].pace == pace] for pace in world.PACES
    }
    assert max(speeds["slow"]) < min(speeds["normal"]) < max(speeds["normal"]) < min(speeds["quick"])


def test_circling_keeps_its_distance_from_the_centre() -> None:
    for scene in scenes_with("circling"):
        (sprite,) = scene.sprites
        distances = [np.hypot(p.x - sprite.x, p.y - sprite.y) for f in range(50) for p in sprite_positions(scene, f)]
        assert np.ptp(distances) < 1e-6
        assert np.allclose(np.hypot(*track(scene).T), sprite.speed, rtol=0.01)


def test_bouncing_returns_to_the_same_height_and_never_moves_sideways() -> None:
    for scene in scenes_with("bouncing"):
        heights = [place.y for frame in range(120) for place in sprite_positions(scene, frame)]
        assert max(heights) == pytest.approx(scene.sprites[0].y, abs=3)
        assert np.ptp(heights) > 20
        assert np.all(track(scene)[:, 0] == 0)


def test_standing_sprites_do_not_move() -> None:
    for scene in scenes_with("standing"):
        assert np.all(track(scene, 50) == 0)


def test_positions_stay_in_the_world() -> None:
    for seed in range(20):
        for far in sprite_positions(scene_of(seed), 100_000):
            assert 0 <= far.x < world.SIZE
            assert 0 <= far.y < world.SIZE


def test_of_two_sprites_the_upper_or_the_left_one_comes_first() -> None:
    pairs = [scene.sprites for seed in range(400) if len((scene := scene_of(seed)).sprites) == 2]
    for first, second in pairs:
        in_columns = {first.motion, second.motion} & {"up", "down"}
        assert (first.x < second.x) if in_columns else (first.y < second.y)
    assert any(first.motion == second.motion == "standing" for first, second in pairs)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_share_of_two_sprites_can_be_chosen(share: float) -> None:
    scenes = [sample_scene(np.random.default_rng(seed), two_sprites_share=share) for seed in range(20)]
    assert {len(scene.sprites) for scene in scenes} == {1 + int(share)}


def test_two_sprites_have_different_colours_and_never_touch() -> None:
    pairs = [scene for seed in range(200) if len((scene := scene_of(seed)).sprites) == 2]
    assert 0.2 < len(pairs) / 200 < 0.4
    for scene in pairs:
        first, second = scene.sprites
        assert first.colour != second.colour
        for frame in range(0, 200, 7):
            a, b = sprite_positions(scene, frame)
            assert max(torus_gap(a.x, b.x), torus_gap(a.y, b.y)) > first.radius + second.radius


def test_scene_from_a_frame_shows_the_same_frames() -> None:
    for seed in range(10):
        whole = render(scene_of(seed), 12).astype(int)
        assert np.abs(render(scene_from(scene_of(seed), 7), 5).astype(int) - whole[7:]).max() <= 1


def test_reversed_scene_shows_the_frames_in_reverse() -> None:
    pairs = [(s, b) for seed in range(60) if (b := reversed_scene(s := scene_of(seed), 16)) is not None]
    assert len(pairs) > 20
    for scene, backwards in pairs:
        forward = render(scene, 16).astype(int)
        assert np.abs(render(backwards, 16).astype(int)[::-1] - forward).max() <= 1


def test_reversed_scene_is_never_held_out() -> None:
    for seed in range(300):
        backwards = reversed_scene(scene_of(seed), 16)
        if backwards is not None:
            assert not any(world.is_held_out(sprite, backwards.background) for sprite in backwards.sprites)


def test_splits_do_not_share_a_combination() -> None:
    for seed in range(200):
        for split in ("train", "held_out"):
            scene = scene_of(seed, split)
            held = any(world.is_held_out(sprite, scene.background) for sprite in scene.sprites)
            assert held == (split == "held_out")


@pytest.mark.parametrize("part", ["shape", "colour", "motion"])
def test_every_value_is_still_trained_on(part: str) -> None:
    drawn = Counter(getattr(sprite, part) for seed in range(1000) for sprite in scene_of(seed).sprites)
    assert min(drawn.values()) > 30


def test_about_one_combination_in_16_is_held_out() -> None:
    sprite = scene_of(0).sprites[0]
    held = [
        world.is_held_out(replace(sprite, shape=shape, colour=colour, motion=motion), background)
        for shape in world.SHAPES
        for colour in world.COLOURS
        for motion in world.MOTIONS
        for background in world.BACKGROUNDS
    ]
    assert sum(held) / len(held) == pytest.approx(1 / 16, rel=0.2)


@pytest.mark.parametrize("seed", range(8))
def test_larger_scale_shows_the_same_scene_in_more_detail(seed: int) -> None:
    small = render(scene_of(seed), 2).astype(float)
    large = render(scene_of(seed), 2, scale=2).astype(float)
    assert large.shape == (2, 128, 128, 3)
    error = np.abs(large.reshape(2, 64, 2, 64, 2, 3).mean(axis=(2, 4)) - small).mean()
    assert error < 0.4
    assert np.abs(large - small.repeat(2, axis=1).repeat(2, axis=2)).mean() > 2 * error
