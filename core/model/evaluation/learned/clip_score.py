"""CLIP score of a video: how much its frames look like its prompt, and like its first frame.

StreamingT2V (arXiv 2403.14773) reports the mean over all frames of the cosine of prompt and frame, times 100, and its
decay over the first 120 to 220 frames. It does not state its CLIP model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from core.metrics.video.frames import shape_like_before
from core.metrics.video.metric import Curve
from core.model.evaluation.learned.clip_model import ClipModel
from core.model.evaluation.learned.facts import PREFIXES
from core.model.evaluation.learned.prompts import PromptsOverTime
from core.model.evaluation.learned.running import RunningScore
from core.service.domain.engine import FrameHWC
from core.service.domain.schema import PromptChange


class ClipScore:
    """`clip_score`, `clip_slope`, `clip_score_120` to `clip_score_220` and `clip_identity` of one video.

    - `clip_score`: mean over frames t of 100 * cos(text, frame t), in [-100, 100]. Not clamped at 0, unlike CLIPScore
      (arXiv 2104.08718) and torchmetrics; cosines below 0 are rare.
    - `clip_score_N`: the same over the first N frames.
    - `clip_slope`: slope of the least-squares line of 100 * cos over t, per 100 frames.
    - `clip_identity`: mean over frames t >= 1 of cos(frame 0, frame t), in [-1, 1]: CLIP-I, not the paper's face
      re-identification.

    Memory holds one batch of prepared frames, whatever the video's length.
    """

    def __init__(
        self, clip: ClipModel, prompt: str | None, changes: Sequence[PromptChange] = (), *, batch: int = 16
    ) -> None:
        """Without a prompt only the identity is measured. `batch`: frames that the network reads at a time."""
        self._clip = clip
        self._prompts = None if prompt is None else PromptsOverTime(prompt, changes, clip.embed_text)
        self._batch = batch
        self._waiting: list[Tensor] = []
        self._num_frames = 0
        self._shape: tuple[int, ...] | None = None
        self._anchor_d: Tensor | None = None
        self._text = RunningScore(prefixes=PREFIXES)
        self._identity = RunningScore(first=1)

    def add(self, frame: FrameHWC) -> None:
        """Raises ValueError if its size is not that of the frames before."""
        self._shape = shape_like_before(frame, self._shape)
        self._waiting.append(self._clip.prepare(frame))
        if len(self._waiting) == self._batch:
            self._score_waiting()

    def values(self) -> Mapping[str, float | int | None]:
        self._score_waiting()
        return {
            "clip_score": self._text.mean(),
            "clip_slope": self._text.slope(),
            **{f"clip_score_{frames}": mean for frames, mean in self._text.prefix_means().items()},
            "clip_identity": self._identity.mean(),
        }

    def curves(self) -> Mapping[str, Curve]:
        self._score_waiting()
        measured = {"clip_score": self._text, "clip_identity": self._identity}
        return {name: score.curve() for name, score in measured.items() if score.mean() is not None}

    def notes(self) -> Sequence[str]:
        self._score_waiting()
        notes = [f"CLIP model: {self._clip.name}."]
        if self._prompts is None:
            notes.append("No CLIP score: the video has no prompt.")
        else:
            notes.extend(self._notes_of_prompts(self._prompts))
        if self._num_frames < 2:
            notes.append("No CLIP-I to the anchor: it needs a video of two frames or more.")
        return notes

    def _notes_of_prompts(self, prompts: PromptsOverTime[Tensor]) -> list[str]:
        notes: list[str] = []
        limit = self._clip.max_tokens
        if any(self._clip.num_tokens(text) > limit for text in prompts.texts):
            notes.append(f"The CLIP model reads the first {limit} tokens of a prompt; the rest of a longer one is cut.")
        if self._num_frames == 0:
            notes.append("No CLIP score: the video has no frames.")
        elif self._num_frames == 1:
            notes.append("No slope of the CLIP score: it needs a video of two frames or more.")
        if self._num_frames < PREFIXES[-1]:
            notes.append(f"CLIP scores of first frames end with the video, at {self._num_frames} frames.")
        return notes

    def _score_waiting(self) -> None:
        """Idempotent: what is scored no longer waits."""
        if not self._waiting:
            return
        embedded_td = self._clip.embed_frames(self._waiting)
        self._waiting.clear()
        for frame_d in embedded_td:
            if self._prompts is not None:
                self._text.add(100 * _cosine(self._prompts.at(self._num_frames), frame_d))
            if self._anchor_d is None:
                self._anchor_d = frame_d
            else:
                self._identity.add(_cosine(self._anchor_d, frame_d))
            self._num_frames += 1


def _cosine(first_d: Tensor, second_d: Tensor) -> float:
    """Of two embeddings of unit length."""
    return float(torch.dot(first_d, second_d))
