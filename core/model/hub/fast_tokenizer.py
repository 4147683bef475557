"""The one-file form of a tokenizer, which needs no torch to read, from the files that a repository has."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from core.model.hub.clip_tokenizer import END_OF_TEXT, clip_tokenizer
from core.model.hub.json_file import read_object
from core.model.hub.t5_tokenizer import t5_tokenizer

TOKENIZER_FILE = "tokenizer.json"
_CONFIGS = ("tokenizer_config.json", "special_tokens_map.json")


def fast_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer of a folder with CLIP's files, with its own padding, or with T5's; None if it has neither.

    Raises CheckpointUnreadable.
    """
    vocabulary, merges, pieces = folder / "vocab.json", folder / "merges.txt", folder / "spiece.model"
    if vocabulary.is_file() and merges.is_file():
        return clip_tokenizer(vocabulary, merges, _pad_token(folder))
    return t5_tokenizer(pieces) if pieces.is_file() else None


def _pad_token(folder: Path) -> str:
    """The token that the tokenizer's config names, as text or with its properties; by default the end of the text."""
    for config in (folder / name for name in _CONFIGS if (folder / name).is_file()):
        named: Any = read_object(config).get("pad_token")
        token = named.get("content") if isinstance(named, dict) else named
        if token:
            return str(token)
    return END_OF_TEXT
