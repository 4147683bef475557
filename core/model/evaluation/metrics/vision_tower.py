"""Similarity of a video to its anchor frame and prompt, by the preset's own vision tower (its CLIP image encoder).

It is the encoder that APM reads, trained so that two frames of one clip form a pair. With the contrastive stage's heads
(`clip_heads.safetensors` of a preset) prompts and clips are compared, too, as CLIP compares texts and pictures. It is
tiny and knows one world only: its similarities compare with one another and with those of true clips, never with
published CLIP scores, re-identification or LPIPS.

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

from core.model.evaluation.metrics.video_figures import CHUNK
from core.model.networks.builders import build_image_encoder, build_text_encoder
from core.model.networks.picture_preprocessing import preprocess_picture
from core.model.presets.files import load_module, read_tokenizer
from core.model.training.sprites.encoding import frames_to_tensor
from core.model.training.sprites_export import CLIP_HEADS
from core.model.training.stages.contrastive import MOMENTS, ContrastiveTask
from core.service.domain.engine import FramesTHWC


@dataclass(frozen=True)
class TowerFigures:
    """One video. Likenesses are cosine similarities in [-1, 1]; those with text need the heads."""

    anchor_likeness: float
    """Mean over the last chunk's frames of their similarity to the anchor."""
    anchor_distance: float
    """Mean squared distance, in [0, 4], between the last chunk's frames and the anchor, over normalised tokens of all
    layers: LPIPS without its learnt weights."""
    text_likeness_at_start: float | None
    """Similarity of the prompt and the first chunk."""
    text_likeness_at_end: float | None
    """Similarity of the prompt and the last chunk."""


class VisionTower:
    """A CLIP image encoder, optionally with the text encoder and heads of the contrastive stage."""

    def __init__(
        self, image_encoder: CLIPVisionModelWithProjection, contrastive: ContrastiveTask | None = None
    ) -> None:
        """Both must be in evaluation mode, on the CPU."""
        self._encoder = image_encoder
        self._size: int = cast("Any", image_encoder.config).image_size
        self._contrastive = contrastive

    @torch.inference_mode()
    def measure(self, frames_thwc: FramesTHWC, prompt: str) -> TowerFigures:
        """All figures of a video that should show `prompt`."""
        last_thwc = frames_thwc[-CHUNK:]
        embedded_ti, layers_tlqd = self._encode(last_thwc)
        anchor_1i, anchor_1lqd = self._encode(frames_thwc[:1])
        return TowerFigures(
            anchor_likeness=float(functional.cosine_similarity(embedded_ti, anchor_1i).mean()),
            anchor_distance=float(((layers_tlqd - anchor_1lqd) ** 2).sum(-1).mean()),
            text_likeness_at_start=self.text_likeness(frames_thwc[:CHUNK], prompt),
            text_likeness_at_end=self.text_likeness(last_thwc, prompt),
        )

    @property
    def compares_texts(self) -> bool:
        """Whether it has the contrastive stage's heads."""
        return self._contrastive is not None

    @torch.inference_mode()
    def embed(self, frames_thwc: FramesTHWC) -> Tensor:
        """Embeddings [T, I] of frames, of unit length."""
        return functional.normalize(self._encode(frames_thwc)[0], dim=-1)

    def _encode(self, frames_thwc: FramesTHWC) -> tuple[Tensor, Tensor]:
        """Embeddings [T, I], and the normalised tokens of all layers [T, L, Q, D]."""
        prepared = preprocess_picture(frames_to_tensor(frames_thwc), self._size)
        output = cast("Any", self._encoder)(pixel_values=prepared, output_hidden_states=True)
        layers_tlqd = torch.stack(output.hidden_states, dim=1)[:, :, 1:].float()
        return output.image_embeds.float(), functional.normalize(layers_tlqd, dim=-1)

    @torch.inference_mode()
    def text_likeness(self, frames_thwc: FramesTHWC, prompt: str) -> float | None:
        """Cosine similarity of the prompt and a chunk of 16 frames, as in the contrastive stage; None without heads."""
        if self._contrastive is None:
            return None
        moments_mi = self._contrastive.embed(frames_to_tensor(frames_thwc[list(MOMENTS)]))
        clip_1i = self._contrastive.heads["clip"](moments_mi.flatten().unsqueeze(0))
        return float(functional.cosine_similarity(clip_1i, self._contrastive.embed_texts([prompt])))


def load_tower(folder: Path) -> VisionTower:
    """The vision tower of a preset folder, with heads if there are any. Raises PresetError."""
    image_encoder = load_module(folder / "image_encoder", build_image_encoder)
    heads = folder / CLIP_HEADS
    return VisionTower(image_encoder, _load_contrastive(folder, image_encoder, heads) if heads.is_file() else None)


def _load_contrastive(folder: Path, image_encoder: CLIPVisionModelWithProjection, heads: Path) -> ContrastiveTask:
    """The contrastive stage's networks, frozen."""
    text_encoder = load_module(folder / "text_encoder", build_text_encoder)
    contrastive = ContrastiveTask(text_encoder, image_encoder, read_tokenizer(folder), seed=0)
    contrastive.heads.load_state_dict(load_file(heads))
    contrastive.heads.eval().requires_grad_(False)
    return contrastive
