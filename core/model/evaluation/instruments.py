"""The metrics of `longtake evaluate FILES` that need networks: CLIP, a preset's own towers, LPIPS; RAFT's flow.

Values are named by their network, and none is loaded that is not asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from core.metrics.evaluation.cheap import CheapInstruments, about_motion
from core.metrics.evaluation.instruments import Asked, Instrument
from core.metrics.video.frames import PUBLISHED_SIZE
from core.metrics.video.metric import Fact
from core.metrics.video.warp_error import WarpError
from core.model.evaluation.learned.facts import LEARNED_FACTS
from core.model.evaluation.learned.networks import Networks, learned_metrics, load_networks
from core.model.evaluation.learned.raft import RaftFlow, load_raft


@dataclass(frozen=True)
class LearnedInstruments:
    """The cheap metrics and those of networks. Passed to other processes without its networks: each loads its own."""

    size: int | None = PUBLISHED_SIZE
    clip: str | None = None
    """A folder, or a Hub name."""
    tower: Path | None = None
    """A preset's folder."""
    lpips: bool = False
    raft: bool = False
    """Flow by RAFT-large instead of DIS."""

    @property
    def options(self) -> Mapping[str, str | int | None]:
        raft = self._flow()
        names = {"flow": raft.name} if raft else {}
        return {**self._cheap.options, **names, **self._networks().models}

    @property
    def facts(self) -> Mapping[str, Fact]:
        return {**self._cheap.facts, **LEARNED_FACTS}

    @property
    def curve_facts(self) -> Mapping[str, Fact]:
        return self._cheap.curve_facts

    @property
    def about(self) -> Sequence[str]:
        raft = self._flow()
        return about_motion(raft.name, self.size) if raft else self._cheap.about

    @property
    def reads_prompts(self) -> bool:
        return self.clip is not None or self.tower is not None

    @property
    def left_out(self) -> Sequence[str]:
        """What was asked for and could not be loaded: why, and what to do about it."""
        return self._networks().notes

    def load(self) -> None:
        """Load all that is asked for, unless it is loaded. Raises PresetError where RAFT cannot be loaded: another flow
        instead would give other numbers than those that were asked for."""
        self._networks()
        self._flow()

    def prepare(self, threads: int) -> None:
        self._cheap.prepare(threads)
        torch.set_num_threads(threads)
        self.load()

    def of_video(self, fps: float, asked: Asked) -> Sequence[Instrument]:
        instruments = [self._with_raft(each, asked) for each in self._cheap.of_video(fps, asked)]
        networks = self._networks()
        learned = learned_metrics(networks, asked.prompt, asked.changes)
        return [*instruments, *(Instrument(metric, models=networks.models) for metric in learned)]

    def _with_raft(self, instrument: Instrument, asked: Asked) -> Instrument:
        raft = self._flow()
        if raft is None or not isinstance(instrument.metric, WarpError):
            return instrument
        return Instrument(WarpError(raft, self.size, asked.borders), raft.name)

    @property
    def _cheap(self) -> CheapInstruments:
        return CheapInstruments(self.size)

    def _networks(self) -> Networks:
        return _load_networks(self.clip, self.tower, self.lpips)

    def _flow(self) -> RaftFlow | None:
        return _load_raft() if self.raft else None


@cache
def _load_networks(clip: str | None, tower: Path | None, lpips: bool) -> Networks:
    return load_networks(clip=clip, tower=tower, lpips=lpips)


@cache
def _load_raft() -> RaftFlow:
    return load_raft()
