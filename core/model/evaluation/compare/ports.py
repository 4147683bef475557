"""What a comparison is given: how methods are loaded, and how videos are measured. Both are loaded in every process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Protocol

from core.metrics.video.metric import Metric
from core.metrics.video.seams import Borders
from core.model.evaluation.methods.method import Method


class Measurement(Protocol):
    """How videos are measured, with its networks loaded."""

    @property
    def key(self) -> Mapping[str, str]:
        """What the values depend on beside frames and prompt, in words for people: flow, size, CLIP model, versions."""
        ...

    @property
    def flow(self) -> str:
        """The name of the flow."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What is not measured, and why."""
        ...

    def metrics(self, prompt: str, fps: int | Fraction, borders: Borders | None) -> Sequence[Metric]:
        """New metrics for one video. `borders`: where its windows begin."""
        ...


LoadMethod = Callable[[str], Method]
"""Raises what stands in the way, such as PresetError. Picklable: a module-level function or a partial of one."""
LoadMeasurement = Callable[[], Measurement]
"""Picklable, too."""
