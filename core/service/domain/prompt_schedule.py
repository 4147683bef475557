"""Which prompt acts at which frame of a video whose prompt changes on the way."""

from __future__ import annotations

from core.service.domain.schema import JobSpec, PromptChange


def prompt_at(spec: JobSpec, frame: int) -> str:
    """The prompt in force at a frame: the newest that begins at or before it."""
    begun = [change.text for change in spec.prompt_changes if change.start_frame <= frame]
    return begun[-1] if begun else spec.prompt


def prompt_start(spec: JobSpec, frame: int) -> int:
    """The frame at which the prompt in force at `frame` begins."""
    return max((change.start_frame for change in spec.prompt_changes if change.start_frame <= frame), default=0)


def prompts_of_window(spec: JobSpec, first_frame: int, frame_before: int) -> tuple[str, str]:
    """The prompt that a window goes from and the one that it goes to; the same unless the prompt changes in it.

    Its first new frame is `first_frame`; the window before it began at `frame_before`. A change acts from the first
    window that begins at or after it, and that window goes over from the old prompt to the new one.
    """
    assert frame_before < first_frame, (frame_before, first_frame)
    return prompt_at(spec, frame_before), prompt_at(spec, first_frame)


def easing(num_frames: int) -> list[float]:
    """The share of the new prompt in each new frame of a window that goes over to it, rising evenly to 1."""
    return [(index + 1) / num_frames for index in range(num_frames)]


def without_prompts_from(spec: JobSpec, frame: int) -> JobSpec:
    """The spec without the prompts that begin at a frame or later; its first prompt stays."""
    before = tuple(change for change in spec.prompt_changes if change.start_frame < frame)
    return spec.model_copy(update={"prompt_changes": before})


def with_prompt_from(spec: JobSpec, text: str, start_frame: int) -> JobSpec:
    """The spec with `text` from a frame on; a change at just that frame is replaced, later ones stay."""
    if start_frame == 0:
        return spec.model_copy(update={"prompt": text, "prompt_used": None})
    others = (change for change in spec.prompt_changes if change.start_frame != start_frame)
    changes = sorted((*others, PromptChange(start_frame=start_frame, text=text)), key=lambda one: one.start_frame)
    return spec.model_copy(update={"prompt_changes": tuple(changes)})
