"""Figures of rendered scenes are perfect, those of manipulated ones are not."""

from dataclasses import replace

import numpy as np
import pytest

from core.model.evaluation.generation.sprites_requests import suite_scenes
from core.model.evaluation.metrics.video_figures import VideoFigures, measure
from core.model.training.sprites import world
from core.model.training.sprites.rendering import render, render_background
from core.model.training.sprites.scene_sampling import sample_scene
from core.service.domain.engine import FramesTHWC


def scene_of(seed: int) -> world.Scene:
    return sample_scene(np.random.default_rng(seed))


def moving_scene() -> world.Scene:
    scenes = (scene_of(seed) for seed in range(100))
    return next(s for s in scenes if len(s.sprites) == 1 and s.sprites[0].motion == "right" and s.background != "plain")


def figures(frames: FramesTHWC, scene: world.Scene | None = None) -> VideoFigures:
    return measure(frames, scene or moving_scene())


@pytest.mark.parametrize("seed", range(20))
def test_rendered_videos_are_right_in_every_figure(seed: int) -> None:
    scene = scene_of(seed)
    measured = measure(render(scene, 64), scene)
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
        measured = measure(render(scene, 16), scene)
        assert measured.colour_right
        assert measured.shape_right
        assert measured.motion_right
        assert measured.pace_right is not False
        assert measured.right_objects_at_end == 1.0


def test_a_slower_object_has_the_wrong_pace_and_the_right_motion() -> None:
    scene = moving_scene()
    quick, slow = (
        replace(scene, sprites=(replace(scene.sprites[0], pace=pace, speed=world.PACES[pace]),))
        for pace in ("quick", "slow")
    )
    measured = measure(render(slow, 16), quick)
    assert measured.motion_right
    assert measured.pace_right is False


def test_a_jump_at_every_window_changes_only_the_window_ratio() -> None:
    frames = render(moving_scene(), 64)
    for first in range(24, 64, 16):
        frames[first:] = np.roll(frames[first:], 12, axis=2)
    measured = figures(frames)
    assert measured.window_seam_ratio is not None
    assert measured.seam_ratio is not None
    assert measured.window_seam_ratio > 1.5 > measured.seam_ratio


def test_a_lost_object_is_detected() -> None:
    frames = render(moving_scene(), 64)
    frames[-16:] = render_background(moving_scene().background).astype(np.uint8)
    assert figures(frames).right_objects_at_end == 0.0
    assert figures(frames).texture_kept == 0.0


def test_a_stop_is_detected() -> None:
    frames = render(moving_scene(), 64)
    frames[32:] = frames[32]
    assert figures(frames).motion_kept == 0.0


def test_a_still_video_has_no_ratios() -> None:
    frames = render(moving_scene(), 1).repeat(64, axis=0)
    measured = figures(frames)
    assert (measured.motion_kept, measured.seam_ratio, measured.window_seam_ratio) == (None, None, None)
    assert not measured.motion_right


def test_another_background_is_detected() -> None:
    scene = moving_scene()
    other = next(name for name in world.BACKGROUNDS if name not in ("plain", scene.background))
    frames = render(scene, 64)
    frames[-16:] = render(world.Scene(other, scene.sprites), 16, 48)
    assert figures(frames).background_kept < 0.5


def test_a_jump_at_chunk_borders_is_detected() -> None:
    frames = render(moving_scene(), 64)
    for chunk in range(4):
        frames[16 * chunk : 16 * chunk + 16] = np.roll(frames[16 * chunk : 16 * chunk + 16], 12 * chunk, axis=2)
    seam_ratio = figures(frames).seam_ratio
    assert seam_ratio is not None
    assert seam_ratio > 3


def test_another_scene_is_wrong() -> None:
    scene = moving_scene()
    other = next(s for seed in range(300) if (s := scene_of(seed)).sprites[0].colour != scene.sprites[0].colour)
    measured = measure(render(scene, 16), other)
    assert not measured.colour_right
    assert not measured.shape_right
