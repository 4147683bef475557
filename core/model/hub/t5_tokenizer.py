"""T5's tokenizer as one file, from the spiece.model of its repository, which only SentencePiece's own library reads.

The file is a protocol buffer (sentencepiece_model.proto): pieces with scores, and how text is normalised. The few
fields needed are read here, so that a pull needs neither SentencePiece nor protobuf.
"""

import struct
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer
from transformers import T5Tokenizer

from core.service.domain.errors import CheckpointUnreadable

Field = tuple[int, bytes | int]
"""Number and content of a field."""

PIECES, NORMALIZER = 1, 3
"""Fields of ModelProto."""
TEXT, SCORE = 1, 2
"""Fields of a piece."""
CHARSMAP = 2
"""Field of NormalizerSpec: the compiled rules, NFKC in T5."""
EXTRA_IDS = 100
"""Sentinel tokens that T5 has after its pieces."""


def t5_tokenizer(spiece: Path) -> Tokenizer:
    """T5's tokenizer, ending texts with "</s>", from its spiece.model. Raises CheckpointUnreadable."""
    try:
        pieces, charsmap = _read(spiece.read_bytes())
        # The vocabulary's type is annotated too narrowly.
        built: Any = cast(Any, T5Tokenizer)(vocab=[*pieces, *_sentinels()], _spm_precompiled_charsmap=charsmap)
    except Exception as error:  # tokenizers raises plain Exception for pieces and rules that it cannot use
        raise CheckpointUnreadable(f"{spiece} is no SentencePiece model of T5: {error}") from error
    return Tokenizer.from_str(built.backend_tokenizer.to_str())


def _sentinels() -> list[tuple[str, float]]:
    return [(f"<extra_id_{index}>", 0.0) for index in reversed(range(EXTRA_IDS))]


def _read(content: bytes) -> tuple[list[tuple[str, float]], bytes | None]:
    """Pieces with their scores, and the compiled rules of normalisation. Raises ValueError."""
    pieces, charsmap = list[tuple[str, float]](), None
    for number, value in _fields(content):
        if number == PIECES:
            pieces.append(_piece(_bytes(value)))
        elif number == NORMALIZER:
            charsmap = dict(_fields(_bytes(value))).get(CHARSMAP)
    if not pieces:
        raise ValueError("it has no pieces")
    return pieces, _bytes(charsmap) if charsmap else None


def _piece(content: bytes) -> tuple[str, float]:
    fields = dict(_fields(content))
    (score,) = struct.unpack("<f", _bytes(fields.get(SCORE, bytes(4))))
    return _bytes(fields[TEXT]).decode(), score


def _bytes(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise ValueError("a field has another type")
    return value


def _fields(content: bytes) -> Generator[Field]:
    """The fields of a protocol buffer, in order. Raises ValueError for bytes that are none."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        if key & 7 == 0:
            value, at = _varint(content, at)
        else:
            size, at = _size(content, key & 7, at)
            value, at = content[at : at + size], at + size
            if at > len(content):
                raise ValueError("it ends within a field")
        yield key >> 3, value


def _size(content: bytes, wire_type: int, at: int) -> tuple[int, int]:
    """Bytes of a field that is no varint, and where they begin."""
    if wire_type == 2:
        return _varint(content, at)
    if wire_type not in {1, 5}:
        raise ValueError(f"a field has the unknown wire type {wire_type}")
    return (8 if wire_type == 1 else 4), at


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number in base 128, lowest digits first, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(content):
            raise ValueError("it ends within a number")
        value |= (content[at] & 127) << shift
        at += 1
        if content[at - 1] < 128:
            return value, at
    raise ValueError("a number is too long")
