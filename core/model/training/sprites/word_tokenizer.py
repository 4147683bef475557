"""The word-level tokenizer of the `sprites` preset, and caption augmentation with unknown words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from torch import Tensor

from core.model.training.sprites import captions

MAX_TOKENS = 32
"""Positions of the text encoder, begin and end tokens included."""

PAD, BEGIN, END, UNKNOWN = SPECIALS = ("[PAD]", "[BOS]", "[EOS]", "[UNK]")


def vocabulary(words: Collection[str] | None = None) -> list[str]:
    """The special tokens, then `words` (default: every word that a caption can contain), in a stable order."""
    return [*SPECIALS, *sorted(captions.all_words() if words is None else words)]


def build_tokenizer(words: Collection[str] | None = None) -> Tokenizer:
    """A word tokenizer for the plain `tokenizers` package: lower-cased, punctuation dropped, unknown words [UNK].

    It knows `words`; by default those of captions.
    """
    ids = {word: index for index, word in enumerate(vocabulary(words))}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = cast(
        "Any",
        normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"[^\w\s]"), " ")]
        ),
    )
    tokenizer.pre_tokenizer = cast("Any", pre_tokenizers.WhitespaceSplit())
    tokenizer.post_processor = cast(
        "Any",
        processors.TemplateProcessing(single="[BOS] $A [EOS]", special_tokens=[(BEGIN, ids[BEGIN]), (END, ids[END])]),
    )
    return tokenizer


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """Token ids [B, MAX_TOKENS], padded with [PAD]. Captions of this world always fit."""
    rows = [tokenizer.encode(text).ids for text in texts]
    return torch.tensor([row + [0] * (MAX_TOKENS - len(row)) for row in rows])


def hide_filler_words(
    texts: Sequence[str], rng: np.random.Generator, probability: float, essential: Collection[str] | None = None
) -> list[str]:
    """Replace each filler word with [UNK] with this probability, so that unknown words in prompts do little harm.

    All but the `essential` words (default: those of captions) are filler words.
    """
    known = captions.essential_words() if essential is None else essential
    return [
        " ".join(w if w.strip(",") in known or rng.random() >= probability else UNKNOWN for w in text.split())
        for text in texts
    ]
