"""The port to measured speeds: what estimates are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

SpeedOf = Literal["first", "next", "refined"]
"""The first chunk, which comes from another network; any later one; a refined one."""

NEWEST_COUNTS = 0.2
"""Weight of the newest chunk in the mean; each older one counts four fifths of the one after it."""


class Speeds(Protocol):
    """Seconds that chunks of a model took lately, in this deployment, per denoising step. Raises StoreError."""

    def report(self, model: str, kind: SpeedOf, seconds_per_step: float) -> None:
        """One more chunk was made."""
        ...

    def of(self, model: str) -> Mapping[SpeedOf, float]:
        """Mean seconds per step, the newest chunks counting most; kinds that were never measured are left out."""
        ...
