"""Which words of a prompt a model knows, and which parts are syntax of other tools. Torch-free.

Whole-word vocabularies have a token for unknown words. A byte-level vocabulary (CLIP's) splits any text, down to single
bytes: there a word counts as known if it has Latin letters and is split into few tokens for its length. With an empty
vocabulary (test presets) every word counts as known.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

from tokenizers import Tokenizer, decoders
from tokenizers.models import WordLevel

_WORD = re.compile(r"[^\W_](?:[\w'\u2019]*[^\W_])?")
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
"""Tokens for unknown characters in sentencepiece vocabularies with byte fallback."""
_LARGE_VOCABULARY = 10_000
"""Smaller vocabularies split ordinary words, too, so words are not judged by their number of tokens."""
_MIN_JUDGED_LETTERS, _MAX_TOKENS_PER_LETTER = 4, 0.6
"""`qwertyuiop` has 0.6 tokens per letter in CLIP's vocabulary, `Szczebrzeszyn` 0.54, `checkered` 0.22."""
FUNCTION_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "is", "it", "of", "on", "or", "over", "than",
    "that", "the", "then", "this", "to", "was", "were", "while", "with",
})  # fmt: skip
"""By themselves they describe no picture."""


@dataclass(frozen=True)
class ForeignSyntax:
    """Syntax of another tool: its name for messages, its pattern, and whether a match contains prompt words."""

    name: str
    pattern: re.Pattern[str]
    has_words: bool = False


FOREIGN_SYNTAX = (
    ForeignSyntax("tags such as <lora:...>", re.compile(r"<\|?[\w-]+(?::[^<>]*|\|)>")),
    ForeignSyntax("options such as --ar 16:9", re.compile(r"(?<!\S)--[A-Za-z]\w*(?:[ =]+\d[\d.:]*)?")),
    ForeignSyntax("BREAK or AND", re.compile(r"\bBREAK\b|(?<=[a-z,.)] )AND(?= [a-z(])")),
    ForeignSyntax(
        "weights such as (red:1.4)", re.compile(r":\s*-?(?:\d+(?:\.\d+)?|\.\d+)\s*\)|::\s*-?\d"), has_words=True
    ),
    ForeignSyntax("brackets such as ((red)) or [red]", re.compile(r"\(\([^()]+\)\)|\[[^\[\]]+\]"), has_words=True),
    ForeignSyntax("choices such as {red|blue}", re.compile(r"\{[^{}|]*\|[^{}]*\}|__\w+__"), has_words=True),
    ForeignSyntax(
        "a negative prompt inside the prompt", re.compile(r"\bnegative prompt\s*:", re.IGNORECASE), has_words=True
    ),
)


@dataclass(frozen=True)
class WordCheck:
    """`understood`: the model knows at least one word of the text that is not a function word."""

    understood: bool
    unknown: tuple[str, ...]


MOST_LISTED_WORDS = 1000
"""A vocabulary with more is not listed: nobody reads it, and it splits most words that it does not have."""


class Vocabulary:
    """Checks words by their tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @cached_property
    def words(self) -> tuple[str, ...]:
        """What can be said to the model, sorted and without function words. Empty where any word can be, or where
        there are more than MOST_LISTED_WORDS."""
        special = {token.content for token in self._tokenizer.get_added_tokens_decoder().values()}
        listed = self._tokenizer.get_vocab().keys() - special - {self._unknown} - FUNCTION_WORDS
        is_listable = isinstance(self._tokenizer.model, WordLevel) and len(listed) <= MOST_LISTED_WORDS
        return tuple(sorted(listed)) if is_listable else ()

    def check(self, text: str) -> WordCheck:
        """Check the words of `text` outside of other tools' syntax."""
        for foreign in FOREIGN_SYNTAX:
            text = text if foreign.has_words else foreign.pattern.sub(" ", text)
        words = _WORD.findall(text)
        if self._is_open:
            return WordCheck(bool(words), ())
        meaningful = [word for word in words if any(char.isalpha() for char in word)]
        unknown = [word for word in meaningful if not self._knows(word)]
        known = {word.lower() for word in meaningful} - {word.lower() for word in unknown}
        unknown += [symbol for symbol in text if unicodedata.category(symbol) == "So" and not self._has(symbol)]
        return WordCheck(bool(known - FUNCTION_WORDS), tuple(dict.fromkeys(unknown)))

    def _knows(self, word: str) -> bool:
        tokens = self._tokens(word)
        if self._unknown in tokens or not tokens or any(_BYTE_TOKEN.fullmatch(token) for token in tokens):
            return False
        return not self._is_byte_level or (_is_latin(word) and not self._is_fragmented(word, len(tokens)))

    def _has(self, symbol: str) -> bool:
        """Whether a symbol (an emoji) has a token of its own."""
        tokens = self._tokens(symbol)
        return len(tokens) == 1 and tokens[0] != self._unknown

    def _is_fragmented(self, word: str, num_tokens: int) -> bool:
        judged = self._num_words >= _LARGE_VOCABULARY and word.isascii() and len(word) >= _MIN_JUDGED_LETTERS
        return judged and num_tokens >= _MAX_TOKENS_PER_LETTER * len(word)

    def _tokens(self, text: str) -> list[str]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).tokens)

    @cached_property
    def _unknown(self) -> str | None:
        """The token for unknown words. Byte-level vocabularies have one, too, but never use it."""
        return getattr(self._tokenizer.model, "unk_token", None)

    @cached_property
    def _num_words(self) -> int:
        special = {token.content for token in self._tokenizer.get_added_tokens_decoder().values()}
        return len(self._tokenizer.get_vocab().keys() - special - {self._unknown})

    @property
    def _is_open(self) -> bool:
        return self._num_words == 0

    @cached_property
    def _is_byte_level(self) -> bool:
        return isinstance(self._tokenizer.decoder, decoders.ByteLevel)


def _is_latin(word: str) -> bool:
    return all(unicodedata.name(char, "").startswith("LATIN ") for char in word if char.isalpha())


def foreign_syntax(text: str) -> list[str]:
    """Names of other tools' syntax in the text, for messages."""
    return [foreign.name for foreign in FOREIGN_SYNTAX if foreign.pattern.search(text)]
