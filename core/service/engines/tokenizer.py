"""Counts the tokens of a prompt and checks which of its words a model knows. Torch-free; uses `tokenizers`."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer

from core.service.domain.errors import PresetError
from core.service.engines.vocabulary import Vocabulary, WordCheck

_SMALL_BYTES = 100_000
"""A file of MOST_LISTED_WORDS is smaller. CLIP's has 2 MB, T5's 2.4 MB: those are not read to list no words."""


class PromptTokenizer(Protocol):
    """What admission needs to know of a model's text encoder."""

    def count(self, text: str) -> int:
        """Tokens of `text` without special tokens."""
        ...

    def check_words(self, text: str) -> WordCheck:
        """Which words of `text` the model knows."""
        ...


class FileTokenizer:
    """tokenizer/tokenizer.json of a weights folder."""

    def __init__(self, weights: Path) -> None:
        """Raises PresetError if the file is missing."""
        file = _file_of(weights)
        if not file.is_file():
            raise PresetError(f"{file} is missing", fix="restore the preset's files")
        self._tokenizer = Tokenizer.from_file(str(file))

    def count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def check_words(self, text: str) -> WordCheck:
        return self._vocabulary.check(text)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self._tokenizer)


def listed_words(weights: Path) -> tuple[str, ...]:
    """`Vocabulary.words` of a weights folder; empty also where it has no tokenizer, or a large one."""
    file = _file_of(weights)
    if not file.is_file() or file.stat().st_size > _SMALL_BYTES:
        return ()
    return Vocabulary(Tokenizer.from_file(str(file))).words


def _file_of(weights: Path) -> Path:
    return weights / "tokenizer" / "tokenizer.json"


class WordCounter:
    """For engines without a tokenizer: every word is one token, and known."""

    def __init__(self, weights: Path) -> None:
        del weights

    def count(self, text: str) -> int:
        return len(text.split())

    def check_words(self, text: str) -> WordCheck:
        return WordCheck(understood=bool(text.strip()), unknown=())
