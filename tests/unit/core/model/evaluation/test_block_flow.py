"""Block matching on motions that are known to the pixel."""

import numpy as np
import pytest

from core.model.evaluation.block_flow import flow_figures, flow_magnitudes
from core.model.evaluation.reader import Frames
from core.model.training import sprites


def moving(places: list[tuple[int, int]]) -> Frames:
    """A texture at these places (rows, columns) of the torus: every block can be told from its neighbours."""
    grey = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    texture = np.repeat(grey[..., None], 3, axis=2)
    return np.stack([np.roll(texture, place, axis=(0, 1)) for place in places])


def test_the_flow_is_as_long_as_the_way_from_frame_to_frame() -> None:
    assert list(flow_magnitudes(moving([(0, 0), (0, 3), (4, 6), (4, 6)]))) == pytest.approx([3, 5, 0], abs=0.2)


def test_motion_explains_the_worlds_own_clips_and_not_a_cut() -> None:
    scene, other = (sprites.sample_scene(np.random.default_rng(seed)) for seed in (1, 101))
    true = flow_figures(sprites.render(scene, 16))
    cut = flow_figures(np.concatenate([sprites.render(scene, 8), sprites.render(other, 8)]))
    assert cut.warp_error > 2 * true.warp_error


def test_a_still_video_has_no_motion_aware_error() -> None:
    still = flow_figures(moving([(0, 0)] * 3))
    assert (still.magnitude, still.motion_aware_warp_error) == (0, None)
