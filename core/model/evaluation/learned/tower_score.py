"""Prompt and video compared by the preset's own towers: the small CLIP that a recipe trains with its preset.

It knows one world only. Its values have names of their own, so that they never share a column with those of CLIP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from core.metrics.video.frames import shape_like_before
from core.metrics.video.metric import Curve
from core.model.evaluation.learned.loading import digest, import_package
from core.model.evaluation.learned.prompts import PromptsOverTime
from core.model.evaluation.learned.running import RunningScore
from core.service.domain.engine import FrameHWC
from core.service.domain.schema import PromptChange

if TYPE_CHECKING:
    from core.model.evaluation.metrics.vision_tower import VisionTower

_CHUNK = 16


@dataclass(frozen=True)
class OwnTower:
    """A preset's towers."""

    name: str
    """Such as "own tower of sprites (SHA-256 0123456789ab)"."""
    tower: VisionTower


def load_own_tower(preset: Path) -> OwnTower:
    """The towers of a preset's folder, on the CPU. Raises PresetError."""
    vision_tower: Any = import_package("core.model.evaluation.metrics.vision_tower")
    tower: VisionTower = vision_tower.load_tower(preset)
    parts = [*(preset / "image_encoder").glob("*.safetensors"), *(preset / "text_encoder").glob("*.safetensors")]
    heads = [*preset.glob(vision_tower.CLIP_HEADS)]
    return OwnTower(f"own tower of {preset.resolve().name} (SHA-256 {digest([*parts, *heads])})", tower)


class OwnTowerScore:
    """`tower_score`, `tower_slope` and `tower_identity` of one video.

    - `tower_score`: mean over whole chunks of 16 frames of 100 * cos(prompt, chunk), in [-100, 100], not clamped. The
      towers were trained on chunks, so they compare chunks, not frames.
    - `tower_slope`: slope of the least-squares line of it over the chunks' middle frames, per 100 frames.
    - `tower_identity`: mean over frames t >= 1 of cos(frame 0, frame t), in [-1, 1].

    Memory holds one chunk, whatever the video's length.
    """

    def __init__(self, own: OwnTower, prompt: str | None, changes: Sequence[PromptChange] = ()) -> None:
        """Without a prompt only the identity is measured. A chunk is compared with the prompt of its first frame."""
        self._own = own
        self._prompts = None if prompt is None else PromptsOverTime(prompt, changes, lambda text: text)
        self._chunk: list[FrameHWC] = []
        self._embedded = 0
        self._num_frames = 0
        self._shape: tuple[int, ...] | None = None
        self._anchor_i: Tensor | None = None
        self._text = RunningScore(frames_each=_CHUNK)
        self._identity = RunningScore(first=1)

    def add(self, frame: FrameHWC) -> None:
        """Raises ValueError if its size is not that of the frames before."""
        self._shape = shape_like_before(frame, self._shape)
        self._chunk.append(frame.copy())
        self._num_frames += 1
        if len(self._chunk) == _CHUNK:
            self._embed_new()
            self._score_chunk()
            self._chunk.clear()
            self._embedded = 0

    def values(self) -> Mapping[str, float | int | None]:
        self._embed_new()
        return {
            "tower_score": self._text.mean(),
            "tower_slope": self._text.slope(),
            "tower_identity": self._identity.mean(),
        }

    def curves(self) -> Mapping[str, Curve]:
        self._embed_new()
        measured = {"tower_score": self._text, "tower_identity": self._identity}
        return {name: score.curve() for name, score in measured.items() if score.mean() is not None}

    def notes(self) -> Sequence[str]:
        notes = [f"Own tower: {self._own.name}.", *self._notes_of_score()]
        if self._num_frames < 2:
            notes.append("No likeness to the anchor by the own tower: it needs a video of two frames or more.")
        return notes

    def _notes_of_score(self) -> list[str]:
        notes: list[str] = []
        rest = self._num_frames % _CHUNK
        if self._prompts is None:
            notes.append("No score of the own tower: the video has no prompt.")
        elif not self._own.tower.compares_texts:
            notes.append("No score of the own tower: the preset has no clip_heads.safetensors, which compare prompts.")
        elif self._num_frames < _CHUNK:
            notes.append(f"No score of the own tower: it compares chunks of {_CHUNK} frames.")
        else:
            if self._num_frames < 2 * _CHUNK:
                notes.append(f"No slope of the own tower's score: it needs two chunks of {_CHUNK} frames.")
            if rest:
                notes.append(f"The own tower compares whole chunks: the last {rest} frames are not in its score.")
        return notes

    def _embed_new(self) -> None:
        """The identity of the chunk's frames that are not embedded yet."""
        new = self._chunk[self._embedded :]
        if not new:
            return
        self._embedded = len(self._chunk)
        for frame_i in self._own.tower.embed(np.stack(new)):
            if self._anchor_i is None:
                self._anchor_i = frame_i
            else:
                self._identity.add(float(torch.dot(self._anchor_i, frame_i)))

    def _score_chunk(self) -> None:
        if self._prompts is None:
            return
        likeness = self._own.tower.text_likeness(np.stack(self._chunk), self._prompts.at(self._num_frames - _CHUNK))
        if likeness is not None:
            self._text.add(100 * likeness)
