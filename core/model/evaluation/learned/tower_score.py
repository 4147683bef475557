"""Prompt and video compared by the preset's own towers."""

from __future__ import annotations

from typing import Protocol


class Tower(Protocol):
    """What OwnTowerScore asks of a vision tower (core.model.evaluation.metrics.vision_tower)."""

    @property
    def name(self) -> str: ...
