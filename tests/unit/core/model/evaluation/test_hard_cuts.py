"""The detector on videos whose cuts are known."""

import sys

import numpy as np
import pytest

from core.model.evaluation import hard_cuts
from core.model.evaluation.hard_cuts import can_count_cuts, count_cuts
from core.model.training import sprites

needs_detector = pytest.mark.skipif(not can_count_cuts(), reason=hard_cuts.NOT_MEASURED)


def clip(seed: int, frames: int = 64) -> sprites.Pixels:
    return sprites.render(sprites.sample_scene(np.random.default_rng(seed)), frames)


@needs_detector
@pytest.mark.parametrize("seed", range(5))
def test_the_worlds_own_motion_is_no_cut(seed: int) -> None:
    assert count_cuts(clip(seed), sprites.FPS) == 0


@needs_detector
@pytest.mark.parametrize("seed", range(5))
def test_another_scene_is_a_cut(seed: int) -> None:
    frames = np.concatenate([clip(seed, 32), clip(seed + 100, 32)])
    assert count_cuts(frames, sprites.FPS) == 1


def test_without_the_detector_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    assert count_cuts(clip(0), sprites.FPS) is None
