"""CLIP encoders of texts (with their tokenizer) and of anchor pictures. Wraps transformers' models.

Shapes: B batch, L text tokens, D text width, I image embedding width, P, R picture rows and columns.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPVisionModelWithProjection

from core.model.networks.picture_preprocessing import preprocess_picture
from core.service.domain.errors import PromptTooLong

TextEncoder = Callable[[list[str]], Tensor]
"""(B texts) -> states [B, L, D]."""

ImageEncoder = Callable[[Tensor], Tensor]
"""Pictures [B, 3, P, R] in [-1, 1] -> pooled embeddings [B, I], not normalised."""


class ClipTextEncoder:
    """CLIP's last hidden state at every position. No attention mask: padding is read, too, as in training."""

    def __init__(self, tokenizer: Tokenizer, encoder: CLIPTextModel) -> None:
        """Pads with the tokenizer's padding id, else with the encoder's."""
        config = cast(Any, encoder.config)
        padding = cast("dict[str, Any] | None", tokenizer.padding)
        self._pad_id: int = config.pad_token_id if padding is None else padding["pad_id"]
        self._tokenizer = tokenizer
        self._encoder = encoder
        self.num_tokens: int = config.max_position_embeddings
        self.max_prompt_tokens = self.num_tokens - tokenizer.num_special_tokens_to_add(False)
        """Tokens of the longest text, without special tokens."""
        tokenizer.no_padding()
        tokenizer.no_truncation()

    def __call__(self, texts: list[str]) -> Tensor:
        """States [B, L, D]. Raises PromptTooLong instead of truncating."""
        ids_BL = torch.tensor([self._ids(text) for text in texts], device=self._encoder.device)
        states: Tensor = self._encoder(input_ids=ids_BL).last_hidden_state
        return states

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        if len(ids) > self.num_tokens:
            raise PromptTooLong(f"the text has {len(ids)} tokens, special ones included; {self.num_tokens} are read")
        return ids + [self._pad_id] * (self.num_tokens - len(ids))


class ClipImageEncoder:
    """CLIP's projected class token of each picture."""

    def __init__(self, encoder: CLIPVisionModelWithProjection) -> None:
        """Pictures are resized to the encoder's input size."""
        self._encoder = encoder
        self._size: int = cast(Any, encoder.config).image_size

    def __call__(self, pictures_B3PR: Tensor) -> Tensor:
        """Pictures [B, 3, P, R] in [-1, 1] -> embeddings [B, I], not normalised."""
        prepared = preprocess_picture(pictures_B3PR, self._size).to(self._encoder.dtype)
        embeddings: Tensor = self._encoder(pixel_values=prepared).image_embeds
        return embeddings
