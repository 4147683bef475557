"""Frame arithmetic: chunks, windows and refinement windows of a number of frames. No frame is ever dropped.

Terms as in docs/glossary.md (chunk, window, refinement window).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

CHUNK_FRAMES = 16
"""Output frames of one chunk, and latents of one window."""
CONDITIONING_FRAMES = 8
"""Past frames that a window reads and repeats; it adds CHUNK_FRAMES - CONDITIONING_FRAMES new ones."""
NEW_FRAMES_PER_WINDOW = CHUNK_FRAMES - CONDITIONING_FRAMES
REFINEMENT_WINDOW_FRAMES = 24
REFINEMENT_OVERLAP_FRAMES = 8
REFINEMENT_STRIDE = REFINEMENT_WINDOW_FRAMES - REFINEMENT_OVERLAP_FRAMES


@dataclass(frozen=True)
class ChunkSpan:
    """Frames of chunk `index`: [first_frame, first_frame + num_frames)."""

    index: int
    first_frame: int
    num_frames: int


def num_chunks(num_frames: int) -> int:
    """Number of chunks of a video of `num_frames` >= 1 frames; the last one holds 1 to 16."""
    return -(-num_frames // CHUNK_FRAMES)


def chunk_span(index: int, num_frames: int) -> ChunkSpan:
    """Frames of chunk `index` in a video of `num_frames` frames."""
    assert 0 <= index < num_chunks(num_frames), (index, num_frames)
    first = index * CHUNK_FRAMES
    return ChunkSpan(index, first, min(CHUNK_FRAMES, num_frames - first))


def num_windows(new_frames: int, surplus_frames: int = 0) -> int:
    """Number of autoregressive windows for `new_frames` more frames, of which `surplus_frames` exist already."""
    return max(0, -(-(new_frames - surplus_frames) // NEW_FRAMES_PER_WINDOW))


def seconds_to_frames(seconds: float, fps: int | Fraction) -> int:
    """Number of frames in `seconds` at `fps`, rounded to the nearest."""
    return round(seconds * fps)


@dataclass(frozen=True)
class RefinementWindow:
    """Frames that are refined together: [first_frame, first_frame + num_frames).

    The first `num_held` are already published and unchanged (only in the last window, which slides back); the next
    `num_blended` were refined by the window before and are blended with it; the rest are new.
    """

    index: int
    first_frame: int
    num_frames: int
    num_held: int
    num_blended: int

    @property
    def end_frame(self) -> int:
        """Number of the frame after the last one."""
        return self.first_frame + self.num_frames


def published_by(windows: tuple[RefinementWindow, ...], index: int) -> range:
    """The same as `published_with` for window `index` of all windows."""
    return published_with(windows[index], windows[-1].end_frame)


def first_shared_with_next(window: RefinementWindow, num_frames: int) -> int:
    """First frame of a window of a video of `num_frames` frames that the next one covers too; `end_frame` for the last
    window."""
    is_last = window.end_frame == num_frames
    return window.end_frame if is_last else refinement_window(window.index + 1, num_frames).first_frame


def unblended(windows: tuple[RefinementWindow, ...], index: int) -> range:
    """Frames taken from window `index` if nothing is blended: overlaps are cut in the middle."""
    starts = [window.first_frame + window.num_held + window.num_blended // 2 for window in windows]
    ends = [*starts[1:], windows[-1].end_frame]
    return range(starts[index], ends[index])


def within(window: RefinementWindow, frames: range) -> slice:
    """Slice of a window's frames for these frames of the video."""
    return slice(frames.start - window.first_frame, frames.stop - window.first_frame)


def refinement_windows(num_frames: int) -> tuple[RefinementWindow, ...]:
    """Refinement windows of a video: the last one slides back to fit; fewer than 24 frames are one window."""
    return tuple(refinement_window(index, num_frames) for index in range(num_refinement_windows(num_frames)))


def num_refinement_windows(num_frames: int) -> int:
    return 1 + max(0, -(-(num_frames - REFINEMENT_WINDOW_FRAMES) // REFINEMENT_STRIDE))


def unslid_end(index: int) -> int:
    """Number of the frame after window `index` of a video that goes on after it."""
    return index * REFINEMENT_STRIDE + REFINEMENT_WINDOW_FRAMES


def refinement_window(index: int, num_frames: int) -> RefinementWindow:
    """Window `index` of a video of `num_frames` frames."""
    if index == 0:
        return RefinementWindow(0, 0, min(num_frames, REFINEMENT_WINDOW_FRAMES), 0, 0)
    unslid = index * REFINEMENT_STRIDE
    start = min(unslid, num_frames - REFINEMENT_WINDOW_FRAMES)
    return RefinementWindow(index, start, REFINEMENT_WINDOW_FRAMES, unslid - start, REFINEMENT_OVERLAP_FRAMES)


def published_with(window: RefinementWindow, num_frames: int) -> range:
    """Frames that become final with a window of a video of `num_frames` frames: no later window blends them, no earlier
    one published them."""
    end = window.end_frame if window.end_frame == num_frames else window.end_frame - REFINEMENT_OVERLAP_FRAMES
    return range(window.first_frame + window.num_held, end)
