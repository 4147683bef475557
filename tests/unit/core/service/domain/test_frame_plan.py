"""Frame arithmetic: nothing dropped, nothing added, for any length."""

from itertools import pairwise

import pytest

from core.service.domain import frame_plan


@pytest.mark.parametrize(("num_frames", "chunks"), [(16, 1), (17, 2), (32, 2), (33, 3), (48, 3), (100, 7), (1200, 75)])
def test_number_of_chunks(num_frames: int, chunks: int) -> None:
    assert frame_plan.num_chunks(num_frames) == chunks


@pytest.mark.parametrize("num_frames", [16, 17, 31, 32, 100, 241])
def test_chunk_spans_cover_every_frame_once(num_frames: int) -> None:
    spans = [frame_plan.chunk_span(index, num_frames) for index in range(frame_plan.num_chunks(num_frames))]
    frames = [frame for span in spans for frame in range(span.first_frame, span.first_frame + span.num_frames)]
    assert frames == list(range(num_frames))


@pytest.mark.parametrize(
    ("new", "surplus", "windows"), [(16, 0, 2), (1, 0, 1), (8, 0, 1), (9, 0, 2), (4, 7, 0), (9, 7, 1)]
)
def test_number_of_windows_uses_the_surplus_first(new: int, surplus: int, windows: int) -> None:
    assert frame_plan.num_windows(new, surplus) == windows


def test_seconds_become_the_nearest_whole_frame() -> None:
    assert frame_plan.seconds_to_frames(6, 8) == 48
    assert frame_plan.seconds_to_frames(2.05, 8) == 16


@pytest.mark.parametrize("num_frames", [16, 24, 25, 40, 41, 56, 240])
def test_refinement_windows_cover_every_frame_once_as_new_and_the_last_slides_back(num_frames: int) -> None:
    windows = frame_plan.refinement_windows(num_frames)
    assert all(window.num_frames == min(24, num_frames) for window in windows)
    assert windows[-1].end_frame == num_frames
    for before, window in pairwise(windows):
        first_blended = window.first_frame + window.num_held
        assert first_blended == before.end_frame - window.num_blended
        assert window.num_blended == 8


def test_240_frames_refine_in_windows_that_advance_by_16() -> None:
    starts = [window.first_frame for window in frame_plan.refinement_windows(240)]
    assert starts[:3] == [0, 16, 32]
    assert starts[-1] == 216
