"""What measures the videos of a run. Metrics with networks are brought by core.model, which this package cannot see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.metrics.video.metric import Fact, Metric
from core.metrics.video.seams import Borders
from core.service.domain.schema import PromptChange


@dataclass(frozen=True)
class Asked:
    """What was asked of a video, as far as it is known."""

    prompt: str | None
    changes: Sequence[PromptChange] = ()
    borders: Borders | None = None
    """Where its windows begin, for the seam score; None where nobody says."""


@dataclass(frozen=True)
class Instrument:
    """A metric, and what its values come from."""

    metric: Metric
    flow: str | None = None
    """The name of the flow that all of its values are computed from."""
    models: Mapping[str, str] = field(default_factory=dict[str, str])
    """The name of the network by the start of its values' names, such as {"clip": "openai/clip-vit-large-patch14"}."""

    def model_of(self, value: str) -> str | None:
        """The network of one of its values."""
        return next((model for start, model in self.models.items() if value.startswith(start)), None)


class Instruments(Protocol):
    """The metrics of a run. Passed to every measuring process, so it can be pickled."""

    @property
    def options(self) -> Mapping[str, str | int | None]:
        """All that the values depend on beside the video: a stored result with other options is not used."""
        ...

    @property
    def facts(self) -> Mapping[str, Fact]:
        """What readers must know of each value, in the order of the report's columns."""
        ...

    @property
    def curve_facts(self) -> Mapping[str, Fact]:
        """The same of curves that do not show their value itself."""
        ...

    @property
    def about(self) -> Sequence[str]:
        """Sentences that readers need before they read the values."""
        ...

    @property
    def reads_prompts(self) -> bool:
        """Whether some values depend on the prompt."""
        ...

    def prepare(self, threads: int) -> None:
        """Called once in every measuring process: load networks, use at most so many threads."""
        ...

    def of_video(self, fps: float, asked: Asked) -> Sequence[Instrument]:
        """New metrics for one video."""
        ...
