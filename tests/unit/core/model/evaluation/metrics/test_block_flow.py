"""Block matching on motions that are known to the pixel."""

import numpy as np
import pytest

from core.model.evaluation.metrics.block_flow import flow_figures, flow_magnitudes
from core.model.training.sprites.rendering import render
from core.model.training.sprites.scene_sampling import sample_scene
from core.service.domain.engine import FramesTHWC


def moving(positions: list[tuple[int, int]]) -> FramesTHWC:
    """A texture at these positions (rows, columns) of the torus; neighbouring blocks differ."""
    grey = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    texture = np.repeat(grey[..., None], 3, axis=2)
    return np.stack([np.roll(texture, position, axis=(0, 1)) for position in positions])


def test_flow_is_the_displacement_between_frames() -> None:
    assert list(flow_magnitudes(moving([(0, 0), (0, 3), (4, 6), (4, 6)]))) == pytest.approx([3, 5, 0], abs=0.2)


def test_warp_error_is_larger_across_a_cut() -> None:
    scene, other = (sample_scene(np.random.default_rng(seed)) for seed in (1, 101))
    true = flow_figures(render(scene, 16))
    cut = flow_figures(np.concatenate([render(scene, 8), render(other, 8)]))
    assert cut.warp_error > 2 * true.warp_error


def test_a_still_video_has_no_motion_aware_error() -> None:
    still = flow_figures(moving([(0, 0)] * 3))
    assert (still.magnitude, still.motion_aware_warp_error) == (0, None)
