"""Names of first-chunk sources, as preset.json and LONGTAKE_FIRST_CHUNK_SOURCE give them.

Torch-free: the sources are in core.model.engines.streaming_t2v.first_chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

Kind = Literal["base", "animatediff", "svd", "diffusers"]
BASE = "base"


@dataclass(frozen=True)
class SourceSampling:
    """Sampling config of a source, for fields that a request leaves out."""

    num_inference_steps: int
    guidance_scale: float


SAMPLING: dict[Kind, SourceSampling] = {
    "animatediff": SourceSampling(25, 7.5),
    "svd": SourceSampling(25, 3.0),
    "diffusers": SourceSampling(50, 7.0),
}
"""As published. That of `base` is in the preset. `diffusers` pipelines differ; 50 and 7 suit most."""

MAX_PIPELINE_STEPS = 500
"""Of all sources but `base`: with more steps, some diffusers schedulers start at far too low noise levels, repeat
timesteps, or use timesteps that do not exist."""


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
        """Whether it can start from an input image."""
        return self.kind == "svd"

    def __str__(self) -> str:
        return f"{self.kind}:{self.repository}" if self.repository else self.kind


def source_name(text: str) -> str:
    """`text`, if it names a source. Raises ValueError."""
    return str(SourceChoice.parse(text))
