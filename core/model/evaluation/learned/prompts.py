"""Which prompt acts at a frame, for a video that is measured frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from core.service.domain.schema import PromptChange

Value = TypeVar("Value")


class PromptsOverTime(Generic[Value]):
    """What `of` makes of each prompt (such as an embedding), by frame. Each prompt is computed once."""

    def __init__(self, prompt: str, changes: Sequence[PromptChange], of: Callable[[str], Value]) -> None:
        """`prompt` acts at frame 0, each change from its start_frame on."""
        ordered = sorted(changes, key=lambda change: change.start_frame)
        self.texts = [prompt, *(change.text for change in ordered)]
        self._starts = [0, *(change.start_frame for change in ordered)]
        self._values = [of(text) for text in self.texts]

    def at(self, frame: int) -> Value:
        """Of the newest prompt that begins at or before a frame."""
        return next(
            value for start, value in zip(reversed(self._starts), reversed(self._values), strict=True) if start <= frame
        )
