"""What is wrong with videos that can be read: the same bytes twice, times that vary, and values that hardly compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.metrics.evaluation.results import Problem
from core.metrics.evaluation.run import Video

_NAMED = 4
"""Videos of each group that are named; of more only the number is said."""


def without_duplicates(videos: Sequence[Video]) -> tuple[list[Video], list[Problem]]:
    """Each content once: a copy would count twice in the means."""
    kept: dict[str, Video] = {}
    problems: list[Problem] = []
    for video in videos:
        first = kept.setdefault(video.file.sha256, video)
        if first is not video:
            text = f"the same bytes as {first.source.name}"
            problems.append(Problem(input=video.source.name, kind="duplicate", text=text, is_skipped=True))
    return list(kept.values()), problems


def variable_rates(videos: Sequence[Video]) -> list[Problem]:
    """Videos whose frames are not equally far apart in time."""
    text = "its frame rate varies: it is measured frame by frame, as if all frames were equally far apart"
    return [
        Problem(input=video.source.name, kind="variable_frame_rate", text=text, is_skipped=False)
        for video in videos
        if video.file.varies
    ]


def cut_off(videos: Sequence[Video]) -> list[Problem]:
    """Videos that end before their file says."""
    return [
        Problem(
            input=video.source.name,
            kind="cut_off",
            text=f"it was cut off: it has {video.file.num_frames} frames, and {video.file.missing_frames} are missing",
            is_skipped=False,
        )
        for video in videos
        if video.file.missing_frames
    ]


def without_prompts(videos: Sequence[Video]) -> list[Problem]:
    """Videos of which nobody says what they should show."""
    text = "no prompt is given for this video"
    return [
        Problem(input=video.source.name, kind="no_prompt", text=text, is_skipped=False)
        for video in videos
        if video.source.prompt is None
    ]


def unequal(videos: Sequence[Video]) -> list[Problem]:
    """Lengths, sizes and frame rates that differ between videos, which means then mix."""
    compared: dict[str, Callable[[Video], str]] = {
        "lengths": lambda video: f"{video.file.num_frames} frames",
        "sizes": lambda video: f"{video.file.width}x{video.file.height} pixels",
        "frame rates": lambda video: f"{video.file.fps:.5g} per second",
    }
    problems: list[Problem] = []
    for what, of_video in compared.items():
        groups: dict[str, list[str]] = {}
        for video in videos:
            groups.setdefault(of_video(video), []).append(video.source.name)
        if len(groups) > 1:
            told = "; ".join(f"{value}: {few(names)}" for value, names in groups.items())
            text = f"{what} differ, and the means mix them: {told}"
            problems.append(Problem(input="all videos", kind="unequal", text=text, is_skipped=False))
    return problems


def few(names: Sequence[str]) -> str:
    """The first of several names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:_NAMED])} and {more} more"
