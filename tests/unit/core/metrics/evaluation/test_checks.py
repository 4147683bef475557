"""What is wrong with videos that can be read."""

from __future__ import annotations

from core.metrics.evaluation.checks import cut_off, unequal, variable_rates, without_duplicates, without_prompts
from tests.helpers.evaluated import video


def test_the_same_bytes_are_measured_once() -> None:
    first, copy = video("a.mp4"), video("b.mp4", sha256="a.mp4")
    kept, [problem] = without_duplicates([first, copy])
    assert kept == [first]
    assert (problem.input, problem.kind, problem.text, problem.is_skipped) == (
        *("b.mp4", "duplicate"),
        *("the same bytes as a.mp4", True),
    )


def test_unequal_lengths_sizes_and_rates_are_told_with_names() -> None:
    same = [video("a.mp4"), video("b.mp4")]
    assert unequal(same) == []
    problems = unequal([*same, video("c.mp4", num_frames=48, width=128, fps=24.0)])
    assert [problem.text for problem in problems] == [
        "lengths differ, and the means mix them: 24 frames: a.mp4, b.mp4; 48 frames: c.mp4",
        "sizes differ, and the means mix them: 64x48 pixels: a.mp4, b.mp4; 128x48 pixels: c.mp4",
        "frame rates differ, and the means mix them: 12 per second: a.mp4, b.mp4; 24 per second: c.mp4",
    ]
    assert not any(problem.is_skipped for problem in problems)


def test_of_many_names_only_the_first_are_told() -> None:
    [problem] = unequal([*(video(f"{number}.mp4") for number in range(9)), video("x.mp4", num_frames=2)])
    assert "0.mp4, 1.mp4, 2.mp4, 3.mp4 and 5 more; 2 frames: x.mp4" in problem.text


def test_variable_rates_missing_frames_and_missing_prompts_are_named() -> None:
    videos = [video("a.mp4", varies=True), video("b.mp4", prompt="a red circle")]
    assert [(problem.input, problem.kind) for problem in variable_rates(videos)] == [("a.mp4", "variable_frame_rate")]
    assert cut_off(videos) == []
    [problem] = cut_off([video("a.mp4", num_frames=10, missing_frames=14)])
    assert problem.text == "it was cut off: it has 10 frames, and 14 are missing"
    assert [(problem.input, problem.kind) for problem in without_prompts(videos)] == [("a.mp4", "no_prompt")]
