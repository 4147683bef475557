"""Frame arithmetic: how many chunks, windows and refinement windows a number of frames takes. No frame is ever dropped.

Pure numbers: knows nothing of tensors, jobs or files. Words as in docs/glossary.md (chunk, window, refinement window).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

CHUNK_FRAMES = 16
"""Output frames of one chunk, and latents of one window."""
CONDITIONING_FRAMES = 8
"""Frames of the past that a window reads and repeats; it adds CHUNK_FRAMES - CONDITIONING_FRAMES new ones."""
NEW_FRAMES_PER_WINDOW = CHUNK_FRAMES - CONDITIONING_FRAMES
REFINEMENT_WINDOW_FRAMES = 24
REFINEMENT_OVERLAP_FRAMES = 8


@dataclass(frozen=True)
class ChunkSpan:
    """Where chunk `index` lies in the video: frames [first_frame, first_frame + num_frames)."""

    index: int
    first_frame: int
    num_frames: int


def num_chunks(num_frames: int) -> int:
    """Chunks of a video of `num_frames` >= 1 frames; the last one holds 1 to 16."""
    return -(-num_frames // CHUNK_FRAMES)


def chunk_span(index: int, num_frames: int) -> ChunkSpan:
    """Span of chunk `index` in a video of `num_frames` frames."""
    assert 0 <= index < num_chunks(num_frames), (index, num_frames)
    first = index * CHUNK_FRAMES
    return ChunkSpan(index, first, min(CHUNK_FRAMES, num_frames - first))


def num_windows(new_frames: int, surplus_frames: int = 0) -> int:
    """Autoregressive windows needed for `new_frames` more frames when `surplus_frames` are already made."""
    return max(0, -(-(new_frames - surplus_frames) // NEW_FRAMES_PER_WINDOW))


def seconds_to_frames(seconds: float, fps: int | Fraction) -> int:
    """Frames that play `seconds` at `fps`, rounded to the nearest whole frame."""
    return round(seconds * fps)


@dataclass(frozen=True)
class RefinementWindow:
    """Frames that are refined together: [first_frame, first_frame + num_frames).

    The first `num_held` are published already and stay as they are (the slid last window only); the `num_blended` after
    them were refined by the window before and are blended with it; the rest are new.
    """

    index: int
    first_frame: int
    num_frames: int
    num_held: int
    num_blended: int

    @property
    def end_frame(self) -> int:
        """The frame after the last."""
        return self.first_frame + self.num_frames


def published_by(windows: tuple[RefinementWindow, ...], index: int) -> range:
    """Frames that are final once window `index` is refined: all that no later window blends, not published before."""
    window = windows[index]
    first = window.first_frame + window.num_held
    return range(first, window.end_frame if index == len(windows) - 1 else window.end_frame - REFINEMENT_OVERLAP_FRAMES)


def first_shared_with_next(windows: tuple[RefinementWindow, ...], index: int) -> int:
    """The first frame of window `index` that the next one covers, too; its end frame where it is the last."""
    window = windows[index]
    return window.end_frame if index == len(windows) - 1 else windows[index + 1].first_frame


def unblended(windows: tuple[RefinementWindow, ...], index: int) -> range:
    """Frames that window `index` gives where nothing is blended: overlaps are cut in the middle."""
    starts = [window.first_frame + window.num_held + window.num_blended // 2 for window in windows]
    ends = [*starts[1:], windows[-1].end_frame]
    return range(starts[index], ends[index])


def within(window: RefinementWindow, frames: range) -> slice:
    """Where frames of the video lie in a window."""
    return slice(frames.start - window.first_frame, frames.stop - window.first_frame)


def refinement_windows(num_frames: int) -> tuple[RefinementWindow, ...]:
    """Windows of a video; the last one slides back to fit, and fewer than 24 frames are one window."""
    if num_frames <= REFINEMENT_WINDOW_FRAMES:
        return (RefinementWindow(0, 0, num_frames, 0, 0),)
    stride = REFINEMENT_WINDOW_FRAMES - REFINEMENT_OVERLAP_FRAMES
    last_start = num_frames - REFINEMENT_WINDOW_FRAMES
    windows = [RefinementWindow(0, 0, REFINEMENT_WINDOW_FRAMES, 0, 0)]
    for index, unslid in enumerate(range(stride, last_start + stride, stride), start=1):
        start = min(unslid, last_start)
        windows.append(
            RefinementWindow(index, start, REFINEMENT_WINDOW_FRAMES, unslid - start, REFINEMENT_OVERLAP_FRAMES)
        )
    return tuple(windows)
