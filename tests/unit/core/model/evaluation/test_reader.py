"""The reader against the world's own truth."""

import numpy as np
import pytest

from core.model.evaluation import reader
from core.model.training import sprites


def scenes(num_sprites: int, count: int) -> list[sprites.Scene]:
    drawn = (sprites.sample_scene(np.random.default_rng(seed)) for seed in range(5000))
    return [scene for scene, _ in zip((s for s in drawn if len(s.sprites) == num_sprites), range(count), strict=False)]


@pytest.mark.parametrize("num_sprites", [1, 2])
def test_objects_are_counted_named_and_placed(num_sprites: int) -> None:
    for scene in scenes(num_sprites, 25):
        seen = reader.read_frame(sprites.render(scene, 1, 5)[0])
        truth = sprites.truth(scene, 5)
        assert sorted((s.colour, s.shape) for s in seen) == sorted((t.colour, t.shape) for t in truth)
        for place in truth:
            (found,) = [s for s in seen if s.colour == place.colour]
            gap = reader.steps_of([(place.x, place.y), (found.x, found.y)])[0]
            assert abs(gap[0]) < 1.5
            assert abs(gap[1]) < 4.5  # a triangle's middle of mass lies below its box's


def test_motions_and_paces_are_read_from_the_objects_place_in_each_frame() -> None:
    for scene in scenes(1, 60):
        track = [(s.x, s.y) for frame in sprites.render(scene, 16) for s in reader.read_frame(frame)]
        assert reader.read_path(reader.steps_of(track)) == (scene.sprites[0].motion, scene.sprites[0].pace)


def test_an_empty_frame_shows_nothing() -> None:
    ground = sprites.background("checkered").astype(np.uint8)
    assert reader.read_frame(ground) == ()


def test_a_torn_object_counts_as_two() -> None:
    frame = sprites.background("plain").astype(np.uint8)
    frame[10:20, 5:20] = frame[40:50, 40:55] = sprites.COLOURS["red"]
    assert len(reader.read_frame(frame)) == 2


def test_an_object_across_the_border_is_one() -> None:
    frame = sprites.background("plain").astype(np.uint8)
    frame[28:44, :8] = frame[28:44, -8:] = sprites.COLOURS["blue"]
    (seen,) = reader.read_frame(frame)
    assert (seen.colour, seen.shape) == ("blue", "square")
    assert min(seen.x, 64 - seen.x) < 0.5
