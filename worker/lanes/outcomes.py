"""How tasks end: their outcomes, and damage that is found."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How a task ended."""

    COMMITTED = "committed"
    DROPPED = "dropped"
    """Nothing was there to do, or another worker did it."""
    INTERRUPTED = "interrupted"
    """The job is released for a later try, which is not counted as an attempt."""
    FAILED = "failed"


class Damaged(Exception):
    """Stored objects are missing or differ from their checksums and must be made again.

    `chunks`: indices of chunks. `refine_from`: refinement restarts at this piece. `media`: the prepared input media.
    """

    def __init__(self, chunks: tuple[int, ...] = (), refine_from: int | None = None, *, media: bool = False) -> None:
        super().__init__(f"damaged: chunks {list(chunks)}, refinement from piece {refine_from}, media {media}")
        self.chunks = chunks
        self.refine_from = refine_from
        self.media = media
