"""Loads the networks that metrics need, once for many videos, and makes the metrics of one video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from core.metrics.video.metric import Metric
from core.model.evaluation.learned.clip_model import ClipModel, load_clip
from core.model.evaluation.learned.clip_score import ClipScore
from core.model.evaluation.learned.lpips_anchor import LpipsAnchor, LpipsNetwork, load_lpips
from core.model.evaluation.learned.tower_score import OwnTower, OwnTowerScore, load_own_tower
from core.service.domain.errors import PresetError
from core.service.domain.schema import PromptChange

Network = TypeVar("Network")


@dataclass(frozen=True)
class Networks:
    """Loaded networks; None: its metrics are left out."""

    clip: ClipModel | None = None
    tower: OwnTower | None = None
    lpips: LpipsNetwork | None = None
    notes: Sequence[str] = ()
    """What was asked for and is left out: why, and what to do about it."""

    @property
    def models(self) -> Mapping[str, str]:
        """Name of the network by how its values' names begin: {"clip": "openai/clip-vit-large-patch14@32bd64288804"}.

        Values compare only where these names are equal.
        """
        loaded = {"clip": self.clip, "tower": self.tower, "lpips": self.lpips}
        return {start: network.name for start, network in loaded.items() if network is not None}


def load_networks(
    *,
    clip: str | None = None,
    tower: Path | None = None,
    lpips: bool = False,
    device: str | None = None,
) -> Networks:
    """The networks that are asked for; one that cannot be loaded is left out, with a note.

    `clip`: a folder, or a Hub name "ORG/NAME" or "ORG/NAME@REVISION". `tower`: a preset's folder. `device`: None is
    CUDA if there is one, else the CPU.
    """
    notes: list[str] = []

    def attempt(what: str, load: Callable[[], Network]) -> Network | None:
        try:
            return load()
        except PresetError as error:
            notes.append(f"{what} not measured: {error.with_fix}.")
            return None

    return Networks(
        clip=None if clip is None else attempt("CLIP score and CLIP-I are", lambda: load_clip(clip, device)),
        tower=None if tower is None else attempt("The own tower's score is", lambda: load_own_tower(tower)),
        lpips=attempt("LPIPS is", lambda: load_lpips(device=device)) if lpips else None,
        notes=notes,
    )


def learned_metrics(
    networks: Networks, prompt: str | None, changes: Sequence[PromptChange] = (), *, lpips_size: int | None = None
) -> list[Metric]:
    """The metrics of one video that should show `prompt`, and each of `changes` from its start_frame on.

    Without a prompt only those that compare frames say something. `lpips_size`: frames are resized to squares of this
    side for LPIPS; None: they are read as they are.
    """
    metrics: list[Metric] = []
    if networks.clip is not None:
        metrics.append(ClipScore(networks.clip, prompt, changes))
    if networks.tower is not None:
        metrics.append(OwnTowerScore(networks.tower, prompt, changes))
    if networks.lpips is not None:
        metrics.append(LpipsAnchor(networks.lpips, lpips_size))
    return metrics
