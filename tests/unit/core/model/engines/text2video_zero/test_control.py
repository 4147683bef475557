"""Maps of control videos: edges are found, other maps are taken as they are; the background is what does not change."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from core.model.engines.text2video_zero.control import background, control_maps, frames_with_first
from tests.helpers.pipelines_zero import Frames, control_frames


def test_edges_are_opencvs_with_the_published_thresholds() -> None:
    frames = control_frames(2, 64)

    maps = control_maps("canny", frames)

    assert maps.shape == (2, 3, 64, 64)
    for found, frame in zip(maps, frames, strict=True):
        expected = torch.from_numpy(cv2.Canny(frame, 100, 200) / 255.0).float()
        assert expected.any()
        assert torch.equal(found, expected.expand(3, -1, -1))


def test_other_maps_are_the_frames_of_the_video() -> None:
    frames = control_frames(2)

    assert torch.equal(control_maps("depth", frames), torch.from_numpy(frames).permute(0, 3, 1, 2) / 255.0)


def test_the_first_window_reads_its_frames_only_and_later_ones_frame_0_too() -> None:
    frames = control_frames(40)
    video = Frames(frames)

    assert np.array_equal(frames_with_first(video, 0, 16), frames[:16])
    assert np.array_equal(frames_with_first(video, 16, 16), frames[[0, *range(16, 32)]])
    assert np.array_equal(frames_with_first(video, 32, 16), frames[[0, *range(32, 40)]])
    assert max(video.counts) == 16


def test_the_background_is_where_nothing_moved() -> None:
    """In latents of 2x2 pixels: a square of 6 pixels moved by 6, with 2 pixels around it."""
    kept = background(control_frames(7, 32)[[0, 6]], 16, 16)

    assert kept[0].all()
    expected = torch.ones(16, 16)
    expected[1:6, 0:7] = 0
    assert torch.equal(kept[1, 0], expected)


def test_what_compression_changes_is_still_background() -> None:
    frames = control_frames(1, 32).repeat(2, axis=0)
    frames[1, ::2] += 20

    assert background(frames, 16, 16).all()
