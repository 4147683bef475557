"""The cut detector on videos with known cuts."""

import sys

import numpy as np
import pytest

from core.metrics.video.cuts import NOT_MEASURED, can_count_cuts
from core.model.evaluation.metrics.hard_cuts import count_cuts
from core.model.training.sprites import world
from core.model.training.sprites.rendering import render
from core.model.training.sprites.scene_sampling import sample_scene
from core.service.domain.engine import FramesTHWC

needs_detector = pytest.mark.skipif(not can_count_cuts(), reason=NOT_MEASURED)


def clip(seed: int, frames: int = 64) -> FramesTHWC:
    return render(sample_scene(np.random.default_rng(seed)), frames)


@needs_detector
@pytest.mark.parametrize("seed", range(5))
def test_rendered_motion_is_no_cut(seed: int) -> None:
    assert count_cuts(clip(seed), world.FPS) == 0


@needs_detector
@pytest.mark.parametrize("seed", range(5))
def test_another_scene_is_a_cut(seed: int) -> None:
    frames = np.concatenate([clip(seed, 32), clip(seed + 100, 32)])
    assert count_cuts(frames, world.FPS) == 1


def test_without_the_detector_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    assert count_cuts(clip(0), world.FPS) is None
