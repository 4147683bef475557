"""CLIP's tokenizer as one file, from the two files that repositories of diffusers have."""

from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer
from transformers import CLIPTokenizer

from core.model.hub.json_file import read_object
from core.service.domain.errors import CheckpointUnreadable

END_OF_TEXT = "<|endoftext|>"


def clip_tokenizer(vocabulary: Path, merges: Path, pad_token: str = END_OF_TEXT) -> Tokenizer:
    """The tokenizer of vocab.json and merges.txt, padding with `pad_token`. Raises CheckpointUnreadable."""
    lines = merges.read_text(encoding="utf-8").splitlines()
    pairs = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    if any(len(pair) != 2 for pair in pairs):
        raise CheckpointUnreadable(f"{merges} is damaged: a merge joins two tokens")
    try:
        built: Any = CLIPTokenizer(vocab=read_object(vocabulary), merges=cast(Any, pairs))
    except Exception as error:  # tokenizers raises plain Exception for merges of tokens that are not in the vocabulary
        raise CheckpointUnreadable(f"{merges} does not fit vocab.json: {error}") from error
    tokenizer = Tokenizer.from_str(built.backend_tokenizer.to_str())
    pad_id = tokenizer.token_to_id(pad_token)
    if pad_id is None:
        raise CheckpointUnreadable(f"{vocabulary} has no {pad_token}, which pads prompts")
    tokenizer.enable_padding(pad_id=pad_id, pad_token=pad_token)
    return tokenizer
