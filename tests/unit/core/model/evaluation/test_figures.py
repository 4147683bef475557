"""Figures of videos whose truth is known: the world's own are perfect, spoilt ones are not."""

from dataclasses import replace

import numpy as np
import pytest

from core.model.evaluation.figures import VideoFigures, measure
from core.model.evaluation.sprites_suite import suite_scenes
from core.model.training import sprites


def scene_of(seed: int) -> sprites.Scene:
    return sprites.sample_scene(np.random.default_rng(seed))


def moving_scene() -> sprites.Scene:
    scenes = (scene_of(seed) for seed in range(100))
    return next(s for s in scenes if len(s.sprites) == 1 and s.sprites[0].motion == "right" and s.background != "plain")


def figures(frames: sprites.Pixels, scene: sprites.Scene | None = None) -> VideoFigures:
    return measure(frames, scene or moving_scene())


@pytest.mark.parametrize("seed", range(20))
def test_the_worlds_own_videos_are_right_in_every_figure(seed: int) -> None:
    scene = scene_of(seed)
    measured = measure(sprites.render(scene, 64), scene)
    assert measured.colour_right
    assert measured.shape_right
    assert measured.motion_right
    assert measured.pace_right is not False
    assert measured.right_objects_at_end == 1.0
    assert measured.background_kept > 0.97
    assert measured.texture_kept is not None
    assert measured.texture_kept > 0.8
    assert measured.motion_kept is None or measured.motion_kept > 0.9
    assert measured.seam_ratio is None or 0.75 < measured.seam_ratio < 1.25
    assert measured.window_seam_ratio is None or measured.window_seam_ratio < 1.25


def test_every_held_out_scene_of_the_suite_is_read_right() -> None:
    for scene in suite_scenes(50):
        measured = measure(sprites.render(scene, 16), scene)
        assert measured.colour_right
        assert measured.shape_right
        assert measured.motion_right
        assert measured.pace_right is not False
        assert measured.right_objects_at_end == 1.0


def test_a_slower_object_than_asked_for_has_the_wrong_pace_and_the_right_motion() -> None:
    scene = moving_scene()
    quick, slow = (
        replace(scene, sprites=(replace(scene.sprites[0], pace=pace, speed=sprites.PACES[pace]),))
        for pace in ("quick", "slow")
    )
    measured = measure(sprites.render(slow, 16), quick)
    assert measured.motion_right
    assert measured.pace_right is False


def test_a_jump_at_every_window_is_seen_at_window_borders_only_between_chunks() -> None:
    frames = sprites.render(moving_scene(), 64)
    for first in range(24, 64, 16):
        frames[first:] = np.roll(frames[first:], 12, axis=2)
    measured = figures(frames)
    assert measured.window_seam_ratio is not None
    assert measured.seam_ratio is not None
    assert measured.window_seam_ratio > 1.5 > measured.seam_ratio


def test_a_video_that_loses_its_object_is_noticed() -> None:
    frames = sprites.render(moving_scene(), 64)
    frames[-16:] = sprites.background(moving_scene().background).astype(np.uint8)
    assert figures(frames).right_objects_at_end == 0.0
    assert figures(frames).texture_kept == 0.0


def test_a_video_that_stops_moving_is_noticed() -> None:
    frames = sprites.render(moving_scene(), 64)
    frames[32:] = frames[32]
    assert figures(frames).motion_kept == 0.0


def test_of_a_video_that_never_moves_no_ratio_is_taken() -> None:
    frames = sprites.render(moving_scene(), 1).repeat(64, axis=0)
    measured = figures(frames)
    assert (measured.motion_kept, measured.seam_ratio, measured.window_seam_ratio) == (None, None, None)
    assert not measured.motion_right


def test_another_background_is_noticed() -> None:
    scene = moving_scene()
    other = next(name for name in sprites.BACKGROUNDS if name not in ("plain", scene.background))
    frames = sprites.render(scene, 64)
    frames[-16:] = sprites.render(sprites.Scene(other, scene.sprites), 16, 48)
    assert figures(frames).background_kept < 0.5


def test_a_jump_at_chunk_borders_is_noticed() -> None:
    frames = sprites.render(moving_scene(), 64)
    for chunk in range(4):
        frames[16 * chunk : 16 * chunk + 16] = np.roll(frames[16 * chunk : 16 * chunk + 16], 12 * chunk, axis=2)
    seam_ratio = figures(frames).seam_ratio
    assert seam_ratio is not None
    assert seam_ratio > 3


def test_what_was_not_asked_for_is_wrong() -> None:
    scene = moving_scene()
    other = next(s for seed in range(300) if (s := scene_of(seed)).sprites[0].colour != scene.sprites[0].colour)
    measured = measure(sprites.render(scene, 16), other)
    assert not measured.colour_right
    assert not measured.shape_right
