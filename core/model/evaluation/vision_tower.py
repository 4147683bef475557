"""Figures that a preset's own vision tower reads off a video: is it still the anchor's world, and the words' world?

The tower is the one that APM reads: trained so that two moments of one clip are a pair. With the contrastive stage's
heads (`clip_heads.safetensors` of a preset) texts and clips can be compared, too, as CLIP compares texts and pictures.
It is tiny and knows one world: its likenesses compare with one another and with those of true clips, never with
published CLIP scores, re-identification or LPIPS. Knows frames and words; knows no engine.

Shapes: T frames, H, W pixel rows and columns, L layers, Q tokens of a picture, D width, I embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers.models.clip.modeling_clip import CLIPVisionModelWithProjection

from core.model.evaluation.figures import CHUNK
from core.model.evaluation.reader import Frames
from core.model.networks.builders import build_image_encoder, build_text_encoder
from core.model.networks.picture_preprocessing import preprocess_picture
from core.model.presets.files import load_module, read_tokenizer
from core.model.training.clip_stage import MOMENTS, ClipTask
from core.model.training.export import CLIP_HEADS
from core.model.training.vae_stage import to_signal


@dataclass(frozen=True)
class TowerFigures:
    """One video. Likenesses are cosines in [-1, 1]; texts need the heads."""

    anchor_likeness: float
    """Mean likeness of the last chunk's frames to the anchor."""
    anchor_distance: float
    """Mean squared distance, [0, 4], between the last chunk's frames and the anchor, over the tower's layers and places
    at unit length: the form of LPIPS without its learnt weights."""
    text_likeness_at_start: float | None
    """Of the prompt and the first chunk."""
    text_likeness_at_end: float | None


class Tower:
    """A vision tower, and where they were kept the heads that bring its clips and texts together."""

    def __init__(self, image_encoder: CLIPVisionModelWithProjection, words: ClipTask | None = None) -> None:
        """Both in evaluation mode, on the CPU."""
        self._encoder = image_encoder
        self._size: int = cast("Any", image_encoder.config).image_size
        self._words = words

    @torch.inference_mode()
    def measure(self, frames_thwc: Frames, prompt: str) -> TowerFigures:
        """All figures of a video that should show `prompt`."""
        last_thwc = frames_thwc[-CHUNK:]
        embedded_ti, layers_tlqd = self._read(last_thwc)
        anchor_1i, anchor_1lqd = self._read(frames_thwc[:1])
        return TowerFigures(
            anchor_likeness=float(functional.cosine_similarity(embedded_ti, anchor_1i).mean()),
            anchor_distance=float(((layers_tlqd - anchor_1lqd) ** 2).sum(-1).mean()),
            text_likeness_at_start=self._text_likeness(frames_thwc[:CHUNK], prompt),
            text_likeness_at_end=self._text_likeness(last_thwc, prompt),
        )

    def _read(self, frames_thwc: Frames) -> tuple[Tensor, Tensor]:
        """Embeddings [T, I], and every layer's tokens [T, L, Q, D] at unit length."""
        prepared = preprocess_picture(to_signal(frames_thwc), self._size)
        read = cast("Any", self._encoder)(pixel_values=prepared, output_hidden_states=True)
        layers_tlqd = torch.stack(read.hidden_states, dim=1)[:, :, 1:].float()
        return read.image_embeds.float(), functional.normalize(layers_tlqd, dim=-1)

    def _text_likeness(self, frames_thwc: Frames, prompt: str) -> float | None:
        """Cosine of the prompt and a chunk, as the contrastive stage compares them."""
        if self._words is None:
            return None
        moments_mi = self._words.embed(to_signal(frames_thwc[list(MOMENTS)]))
        clip_1i = self._words.heads["clip"](moments_mi.flatten().unsqueeze(0))
        return float(functional.cosine_similarity(clip_1i, self._words.embed_texts([prompt])))


def load_tower(folder: Path) -> Tower:
    """The tower of a preset folder, with its heads where there are any. Raises PresetError."""
    image_encoder = load_module(folder / "image_encoder", build_image_encoder)
    heads = folder / CLIP_HEADS
    return Tower(image_encoder, _load_words(folder, image_encoder, heads) if heads.is_file() else None)


def _load_words(folder: Path, image_encoder: CLIPVisionModelWithProjection, heads: Path) -> ClipTask:
    """The contrastive stage's networks, to be read from only."""
    text_encoder = load_module(folder / "text_encoder", build_text_encoder)
    words = ClipTask(text_encoder, image_encoder, read_tokenizer(folder), seed=0)
    words.heads.load_state_dict(load_file(heads))
    words.heads.eval().requires_grad_(False)
    return words
