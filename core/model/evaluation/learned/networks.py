"""Loads the networks that metrics need, once for many videos, and makes the metrics of one video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.metrics.video.metric import Metric
from core.model.evaluation.learned.clip_model import ClipModel
from core.model.evaluation.learned.lpips_anchor import LpipsNetwork
from core.model.evaluation.learned.tower_score import Tower
from core.service.domain.schema import PromptChange


@dataclass(frozen=True)
class Networks:
    """Loaded networks; None: its metrics are left out."""

    clip: ClipModel | None = None
    tower: Tower | None = None
    lpips: LpipsNetwork | None = None
    notes: Sequence[str] = ()
    """What is left out, why, and what to do about it."""

    @property
    def models(self) -> Mapping[str, str]:
        """Name of the network by the start of its values' names: {"clip": "openai/clip-vit-large-patch14@32bd..."}.

        Values compare only where these names are equal.
        """
        raise NotImplementedError


def load_networks(
    *, clip: str | None = None, tower: Path | None = None, lpips: bool = False, device: str | None = None
) -> Networks:
    """The networks that are asked for; one whose files are missing is left out, with a note.

    `clip`: folder, or a Hub name "ORG/NAME" or "ORG/NAME@REVISION". `tower`: a preset's folder.
    `device`: None is CUDA if there is one, else the CPU.
    """
    raise NotImplementedError


def learned_metrics(networks: Networks, prompt: str | None, changes: Sequence[PromptChange] = ()) -> list[Metric]:
    """The metrics of one video that should show `prompt`, and `changes` from their frames on.

    Without a prompt only those that compare frames say something.
    """
    raise NotImplementedError
