"""What the library's pipeline does not do by itself: reading texts, and drawing from one generator only.

Shapes: L text tokens, D text width.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class _Posterior:
    """A posterior that draws from its own generator."""

    posterior: Any
    generator: torch.Generator

    def sample(self) -> Tensor:
        drawn: Tensor = self.posterior.sample(self.generator)
        return drawn


@contextmanager
def posterior_drawn_from(vae: Any, generator: torch.Generator) -> Generator[None]:
    """Within the block, samples of what `vae` encodes are drawn from `generator`."""
    encode = vae.encode

    def seeded_encode(pictures: Tensor) -> Any:
        return SimpleNamespace(latent_dist=_Posterior(encode(pictures).latent_dist, generator))

    vae.encode = seeded_encode
    try:
        yield
    finally:
        del vae.encode


def text_states(pipeline: Any, text: str, device: torch.device) -> Tensor:
    """States [1, L, D] of the text encoder's last layer but one, through its final norm, as the model was trained.

    The pipeline's own code for it looks for the norm where transformers 5 does not have it.
    """
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder
    tokens = tokenizer(
        text, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    states: Tensor = encoder(tokens.input_ids.to(device), output_hidden_states=True).hidden_states[-2]
    return encoder.final_layer_norm(states)
