"""Which prompt acts at which frame of a video whose prompt changes on the way."""

from __future__ import annotations

from core.service.domain.schema import JobSpec, PromptChange

Mix = tuple[tuple[str, float], ...]
"""Texts with their weights, which add up to 1. An engine mixes what its text encoder makes of them."""


def prompt_at(spec: JobSpec, frame: int) -> str:
    """The prompt in force at a frame: the newest that begins at or before it."""
    begun = [change.text for change in spec.prompt_changes if change.start_frame <= frame]
    return begun[-1] if begun else spec.prompt


def prompt_start(spec: JobSpec, frame: int) -> int:
    """The frame at which the prompt in force at `frame` begins."""
    return max((change.start_frame for change in spec.prompt_changes if change.start_frame <= frame), default=0)


def prompts_at(spec: JobSpec, first_frame: int, frame_before: int) -> Mix:
    """The prompts of a window whose first new frame is `first_frame`, if the window before it began at `frame_before`.

    A change acts from the first window that begins at or after it. That window takes half of the old and half of the
    new prompt; later ones take the new one alone.
    """
    assert frame_before < first_frame, (frame_before, first_frame)
    old, new = prompt_at(spec, frame_before), prompt_at(spec, first_frame)
    return ((new, 1.0),) if old == new else ((old, 0.5), (new, 0.5))


def with_prompt_from(spec: JobSpec, text: str, start_frame: int) -> JobSpec:
    """The spec with `text` from a frame on; a change at just that frame is replaced, later ones stay."""
    if start_frame == 0:
        return spec.model_copy(update={"prompt": text})
    others = (change for change in spec.prompt_changes if change.start_frame != start_frame)
    changes = sorted((*others, PromptChange(start_frame=start_frame, text=text)), key=lambda one: one.start_frame)
    return spec.model_copy(update={"prompt_changes": tuple(changes)})
