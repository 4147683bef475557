"""The port to a language model that writes longer prompts."""

from __future__ import annotations

from typing import Protocol


class PromptEnhancer(Protocol):
    """A chat endpoint that the operator named."""

    async def answer(self, instructions: str, text: str) -> str:
        """What the model answers to `text`. Raises PromptEnhancerFailed, within 10 seconds."""
        ...
