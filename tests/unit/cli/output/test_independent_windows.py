"""Independently refined windows: each is its own video, cut in the middle of overlaps; every frame occurs once."""

import numpy as np
import pytest

from cli.output.independent_windows import refine_independently
from core.service.domain.engine import FramesTHWC, OnStep
from core.service.domain.refiner import RefinedWindow, RefineState
from core.service.domain.schema import JobSpec
from core.service.testing.engines import FakeRefineEngine
from tests.helpers.jobs import job_spec, refine_spec


class SeedWriter(FakeRefineEngine):
    """Every refined pixel is the seed of its window."""

    def refine_window(self, spec: JobSpec, state: RefineState, frames: FramesTHWC, on_step: OnStep) -> RefinedWindow:
        refined = super().refine_window(spec, state, frames, on_step)
        return RefinedWindow(np.full_like(refined.frames, spec.seed), refined.state, refined.timings)


def preview(num_frames: int) -> FramesTHWC:
    """Frame f is of grey f."""
    return np.arange(num_frames, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3)


@pytest.mark.parametrize("num_frames", [16, 24, 25, 41, 72])
def test_every_frame_of_every_length_comes_from_its_own_place(num_frames: int) -> None:
    spec = job_spec(num_frames=num_frames, refine=refine_spec())
    refined = refine_independently(FakeRefineEngine(), spec, preview(num_frames))
    assert refined[:, -1, -1, 0].tolist() == list(range(num_frames))


def test_no_two_windows_share_noise_and_overlaps_are_cut_in_the_middle() -> None:
    spec = job_spec(num_frames=41, seed=7, refine=refine_spec())
    refined = refine_independently(SeedWriter(), spec, preview(41))
    # Windows of 41 frames begin at 0, 16 and (slid back) 17; the last publishes from frame 32 on.
    assert refined[:, 0, 0, 0].tolist() == [8] * 20 + [9] * 16 + [10] * 5
