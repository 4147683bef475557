"""Detected objects compared with rendered scenes."""

import numpy as np
import pytest

from core.model.evaluation.metrics import frame_reader
from core.model.training.sprites import world
from core.model.training.sprites.motion import sprite_positions
from core.model.training.sprites.rendering import render, render_background
from core.model.training.sprites.scene_sampling import sample_scene


def scenes(num_sprites: int, count: int) -> list[world.Scene]:
    drawn = (sample_scene(np.random.default_rng(seed)) for seed in range(5000))
    return [scene for scene, _ in zip((s for s in drawn if len(s.sprites) == num_sprites), range(count), strict=False)]


@pytest.mark.parametrize("num_sprites", [1, 2])
def test_objects_are_detected_with_attributes_and_position(num_sprites: int) -> None:
    for scene in scenes(num_sprites, 25):
        detected = frame_reader.read_frame(render(scene, 1, 5)[0])
        expected = sprite_positions(scene, 5)
        assert sorted((s.colour, s.shape) for s in detected) == sorted((t.colour, t.shape) for t in expected)
        for position in expected:
            (found,) = [s for s in detected if s.colour == position.colour]
            gap = frame_reader.steps_of([(position.x, position.y), (found.x, found.y)])[0]
            assert abs(gap[0]) < 1.5
            assert abs(gap[1]) < 4.5  # a triangle's centre of mass lies below its centre


def test_motions_and_paces_are_read_from_positions() -> None:
    for scene in scenes(1, 60):
        track = [(s.x, s.y) for frame in render(scene, 16) for s in frame_reader.read_frame(frame)]
        assert frame_reader.read_path(frame_reader.steps_of(track)) == (scene.sprites[0].motion, scene.sprites[0].pace)


def test_an_empty_frame_has_no_objects() -> None:
    ground = render_background("checkered").astype(np.uint8)
    assert frame_reader.read_frame(ground) == ()


def test_a_torn_object_counts_as_two() -> None:
    frame = render_background("plain").astype(np.uint8)
    frame[10:20, 5:20] = frame[40:50, 40:55] = world.COLOURS["red"]
    assert len(frame_reader.read_frame(frame)) == 2


def test_an_object_across_the_border_is_one() -> None:
    frame = render_background("plain").astype(np.uint8)
    frame[28:44, :8] = frame[28:44, -8:] = world.COLOURS["blue"]
    (found,) = frame_reader.read_frame(frame)
    assert (found.colour, found.shape) == ("blue", "square")
    assert min(found.x, 64 - found.x) < 0.5
