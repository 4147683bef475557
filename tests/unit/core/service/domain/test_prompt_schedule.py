"""Which prompt acts where, in videos whose prompt changes."""

from __future__ import annotations

import pytest

from core.service.domain.prompt_schedule import (
    easing,
    prompt_at,
    prompt_start,
    prompts_of_window,
    with_prompt_from,
)
from core.service.domain.schema import JobSpec, PromptChange
from tests.helpers.jobs import job_spec


def spec_with(*changes: tuple[int, str]) -> JobSpec:
    return job_spec(prompt="a", prompt_changes=tuple(PromptChange(start_frame=f, text=t) for f, t in changes))


@pytest.mark.parametrize(("frame", "text", "start"), [(0, "a", 0), (15, "a", 0), (16, "b", 16), (99, "c", 40)])
def test_the_newest_prompt_that_has_begun_is_in_force(frame: int, text: str, start: int) -> None:
    spec = spec_with((16, "b"), (40, "c"))
    assert (prompt_at(spec, frame), prompt_start(spec, frame)) == (text, start)


@pytest.mark.parametrize(
    ("start_frame", "windows"),
    [
        (48, {40: "aa", 48: "ab", 56: "bb"}),
        (49, {48: "aa", 56: "ab", 64: "bb"}),
        (55, {48: "aa", 56: "ab", 64: "bb"}),
    ],
)
def test_a_change_acts_from_the_next_window_and_is_eased_over_that_one(
    start_frame: int, windows: dict[int, str]
) -> None:
    spec = spec_with((start_frame, "b"))
    assert {first: "".join(prompts_of_window(spec, first, first - 8)) for first in windows} == windows


def test_of_two_changes_between_two_windows_the_last_one_acts() -> None:
    assert prompts_of_window(spec_with((41, "b"), (42, "c")), 48, 40) == ("a", "c")


def test_the_share_of_the_new_prompt_rises_evenly_to_all_of_it() -> None:
    assert easing(4) == [0.25, 0.5, 0.75, 1.0]


def test_a_prompt_is_added_in_order_and_replaces_the_one_of_its_frame() -> None:
    spec = with_prompt_from(with_prompt_from(spec_with((32, "b")), "c", 16), "d", 32)
    assert spec == spec_with((16, "c"), (32, "d"))
    assert with_prompt_from(spec_with((32, "b")), "z", 0) == spec_with((32, "b")).model_copy(update={"prompt": "z"})
