"""Names of first-chunk sources, as preset.json and LONGTAKE_FIRST_CHUNK_SOURCE give them.

Torch-free: what a source needs to run is in core.model.engines.streaming_t2v.first_chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

Kind = Literal["base", "animatediff", "svd", "diffusers"]
BASE = "base"


@dataclass(frozen=True)
class SourceSampling:
    """How a source samples if a request says nothing."""

    num_inference_steps: int
    guidance_scale: float


SAMPLING: dict[Kind, SourceSampling] = {
    "animatediff": SourceSampling(25, 7.5),
    "svd": SourceSampling(25, 3.0),
    "diffusers": SourceSampling(50, 7.0),
}
"""As published, for all but `base`, whose sampling belongs to the preset. Pipelines differ; 50 and 7 suit most."""

MAX_PIPELINE_STEPS = 500
"""Of all sources but `base`. diffusers' schedulers place them: of more than half the timesteps some begin far too low,
and of 1000 some repeat one or ask for one that does not exist."""


@dataclass(frozen=True)
class SourceChoice:
    """A source by kind; `repository` is the Hub id ("ORG/NAME", "ORG/NAME@REVISION") or folder of `diffusers`."""

    kind: Kind
    repository: str = ""

    @staticmethod
    def parse(text: str) -> SourceChoice:
        """From "base", "animatediff", "svd" or "diffusers:REPOSITORY". Raises ValueError."""
        kind, separator, repository = text.partition(":")
        if kind not in get_args(Kind) or (kind == "diffusers") != bool(repository) or (separator and not repository):
            raise ValueError(f"{text!r} is not base, animatediff, svd or diffusers:ORG/NAME")
        return SourceChoice(cast(Kind, kind), repository)

    @property
    def accepts_image(self) -> bool:
        """Whether it can begin with a given picture."""
        return self.kind == "svd"

    def __str__(self) -> str:
        return f"{self.kind}:{self.repository}" if self.repository else self.kind


def source_name(text: str) -> str:
    """`text`, proven to name a source. Raises ValueError."""
    return str(SourceChoice.parse(text))
