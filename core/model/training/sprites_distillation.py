"""Distillation of `sprites`: its networks and the batches of the synthetic world they are distilled on."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from core.model.training.sprites_models import SpritesModels
from core.model.training.stages.base import caption_states, drop_captions
from core.model.training.stages.distilled import Distilled, DistilledFirstChunks, DistilledWindows
from core.model.training.stages.memory import Dropouts

_CAPTION_DROPOUT = 0.05
_UNKNOWN_WORDS = 0.08


class SpritesDistillation:
    """What a stage of distillation trains on."""

    def __init__(self, models: SpritesModels) -> None:
        self._models = models

    def distilled(self, stage: str) -> Distilled:
        """The stage's networks, newly loaded: adapters are attached to them. Raises StageNotTrained."""
        models, entry = self._models, self._models.recipe.stages[stage]
        batch, dropouts = entry.batch, entry.dropouts or Dropouts()
        unconditional_1LD = self._states([models.sampling_parts.preset.negative_prompt])

        def windows(_step: int, frames: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
            # As in the memory stages: a prompt stays the same for all windows of a video.
            latents, captions = models.bank.batch(rng, batch, frames, from_start=0.3, mark_later=False)
            texts = drop_captions(captions, rng, dropouts.caption, _UNKNOWN_WORDS)
            return latents * models.latent_scale, self._states(texts)

        def first_chunks(_step: int, frames: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
            latents, captions = models.bank.batch(rng, batch, frames, from_start=0.75, similar_colours=0.4)
            texts = drop_captions(captions, rng, _CAPTION_DROPOUT, _UNKNOWN_WORDS)
            return latents * models.latent_scale, self._states(texts)

        unet = models.untrained_unet()
        models.load("video", {"unet": unet})
        if stage.startswith("first_chunk"):
            return DistilledFirstChunks(unet, first_chunks, unconditional_1LD)
        memory = models.untrained_memory(unet)
        models.load("apm", {"cam": memory.cam, **memory.conditioning})
        return DistilledWindows(
            unet, memory, models.vae, models.image_encoder, windows, unconditional_1LD, models.latent_scale, dropouts
        )

    def _states(self, texts: list[str]) -> Tensor:
        return caption_states(self._models.text_encoder, self._models.tokenizer, texts)
