"""Frame 0 moved: as diffusers' field at square sizes, in one direction at others, mirrored beyond the edges."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.pipelines.deprecated.text_to_video_synthesis import pipeline_text_to_video_zero as library
from torch import Tensor

from core.model.engines.text2video_zero.motion import Motion, moved

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning"),
    pytest.mark.filterwarnings("ignore:Default grid_sample:UserWarning"),
]


def latents(height: int, width: int) -> Tensor:
    """Every latent is another one."""
    return torch.arange(4.0 * height * width).view(1, 4, height, width)


def theirs(of: Tensor, frames: list[int], x: float, y: float) -> Tensor:
    untyped: Any = library
    repeated = of.repeat(len(frames), 1, 1, 1)
    return untyped.create_motion_field_and_warp_latents(x, y, frames, repeated)


@pytest.mark.parametrize("side", [8, 32, 64, 96, 128])
@pytest.mark.parametrize(("x", "y"), [(12.0, 12.0), (-12.0, 5.0), (0.0, 0.0), (64.0, -33.5)])
def test_equals_the_librarys_field_at_square_sizes(side: int, x: float, y: float) -> None:
    frames = [1, 2, 3, 15, 16, 40, 99]
    of = latents(side, side)

    assert torch.equal(moved(of, frames, Motion(x, y)), theirs(of, frames, x, y))


def test_differs_from_the_librarys_at_other_shapes_which_turns_the_direction() -> None:
    """A picture twice as wide as high, moved as far down as to the right."""
    of, frames = latents(32, 64), [2]

    ours, other = moved(of, frames, Motion(128.0, 128.0)), theirs(of, frames, 128.0, 128.0)

    assert torch.equal(ours[0, :, :8, :32], of[0, :, 16:24, 16:48])
    assert torch.equal(other[0, :, :8, :32], of[0, :, 16:24, 32:])


def test_size_does_not_change_the_share_of_the_picture_that_a_frame_moves() -> None:
    small, large = moved(latents(16, 16), [1], Motion(64.0, 0.0)), moved(latents(64, 64), [1], Motion(64.0, 0.0))

    assert torch.equal(small[0, 0, 0, :8], latents(16, 16)[0, 0, 0, 2:10])
    assert torch.equal(large[0, 0, 0, :32], latents(64, 64)[0, 0, 0, 8:40])


def test_beyond_an_edge_the_picture_goes_on_mirrored() -> None:
    of = latents(8, 8)

    (row,) = moved(of, [2], Motion(128.0, 0.0))[:, 0, 0].tolist()

    assert row == [4, 5, 6, 7, 7, 6, 5, 4]


@pytest.mark.parametrize("bilinear", [False, True])
def test_motion_without_end_comes_back(bilinear: bool) -> None:
    """16 pixels of 512 per frame are twice the width after 64 frames, also the thousandth time."""
    of, motion = latents(16, 16), Motion(16.0, -16.0, bilinear)

    assert torch.equal(moved(of, [64, 64_000, 64_000_003], motion), moved(of, [0, 0, 3], motion))


def test_every_frame_of_a_long_video_holds_latents_of_frame_0() -> None:
    of = latents(8, 12)

    found = moved(of, range(0, 5000, 7), Motion(11.7, -3.1))

    assert torch.isin(found, of).all()


def test_bilinear_motion_moves_by_parts_of_a_latent() -> None:
    ramp = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16)

    steps = moved(ramp, [1, 2, 3], Motion(8.0, 0.0, bilinear=True))[:, 0, 0, 4]

    torch.testing.assert_close(steps, torch.tensor([4.25, 4.5, 4.75]))


def test_bilinear_motion_of_no_length_changes_nothing() -> None:
    assert torch.equal(moved(latents(8, 12), [5], Motion(0.0, 0.0, bilinear=True)), latents(8, 12))
