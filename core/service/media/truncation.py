"""Detects truncated video files, by the lengths that their boxes or elements declare. Decodes nothing.

FFmpeg reads truncated files as far as it can without an error, which suits players but not a reader of the last frames.
Files without declared lengths (live recordings) may be truncated between two parts unnoticed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from core.service.media.decoded import Tick

_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"sidx", b"free", b"skip", b"wide", b"uuid", b"meta"})
"""Top-level boxes. Anything else after the last one is ignored as garbage."""
_INDEXES = frozenset({b"moov"})
_BOX_HEADER, _LONG_BOX_HEADER = 8, 16

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_EBML = 0x1A45DFA3
_ENTERED = frozenset({_SEGMENT, _CLUSTER})
"""Matroska elements whose children are read one by one if their length is unknown."""
_ELEMENTS = _ENTERED | frozenset(
    {
        _EBML,
        0x114D9B74,  # SeekHead
        0x1549A966,  # Info
        0x1654AE6B,  # Tracks
        0x1C53BB6B,  # Cues
        0x1254C367,  # Tags
        0x1043A770,  # Chapters
        0x1941A469,  # Attachments
        0xE7,  # Timestamp
        0xA3,  # SimpleBlock
        0xA0,  # BlockGroup
        0xA7,  # Position
        0xAB,  # PrevSize
        0xEC,  # Void
        0xBF,  # CRC-32
    }
)
"""Children of Segment and Cluster (RFC 9559, section 5.1)."""
_MOST_ELEMENT_HEADER = 12


def missing_end(path: Path, tick: Tick) -> str | None:
    """Message saying how a Matroska, MP4 or QuickTime file is truncated; None if it is not."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        is_matroska = file.read(4) == _EBML.to_bytes(4, "big")
        missing = _missing_of_matroska if is_matroska else _missing_of_boxes
        return missing(file, size_bytes, tick)


def _missing_of_boxes(file: BinaryIO, size_bytes: int, tick: Tick) -> str | None:
    has_index = False
    for name, end in _boxes(file, size_bytes):
        tick()
        if end > size_bytes:
            return _cut(size_bytes, end)
        has_index = has_index or name in _INDEXES
    return None if has_index else "it is cut off, or was never finished: its index (moov) is missing"


def _boxes(file: BinaryIO, size_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Type and end of each top-level box (ISO/IEC 14496-12, section 4.2)."""
    start = 0
    while start < size_bytes:
        file.seek(start)
        header = file.read(_LONG_BOX_HEADER)
        name = header[4:8]
        if len(header) < _BOX_HEADER or name not in _BOXES:
            # An unknown box, or garbage.
            length = int.from_bytes(header[:4], "big")
            if len(header) < _BOX_HEADER or length < _BOX_HEADER or start + length > size_bytes:
                return
        start = _end_of_box(header, start, size_bytes)
        yield name, start


def _end_of_box(header: bytes, start: int, size_bytes: int) -> int:
    (length,) = struct.unpack(">I", header[:4])
    if length == 0:  # up to the end of the file
        return size_bytes
    if length == 1 and len(header) == _LONG_BOX_HEADER:
        (length,) = struct.unpack(">Q", header[8:])
    return start + max(length, _BOX_HEADER)


def _missing_of_matroska(file: BinaryIO, size_bytes: int, tick: Tick) -> str | None:
    position = 0
    while position < size_bytes:
        tick()
        file.seek(position)
        identity, length, header_length = _element(file.read(_MOST_ELEMENT_HEADER))
        if identity not in _ELEMENTS:
            return None  # garbage at the end, or an unknown element
        position += header_length
        if length is None:
            if identity not in _ENTERED:
                return None
            continue
        if position + length > size_bytes:
            return _cut(size_bytes, position + length)
        position += length
    return None


def _element(header: bytes) -> tuple[int | None, int | None, int]:
    """ID, content length (None: unknown) and header length of an element (RFC 8794, sections 5 and 6)."""
    id_length = _vint_length(header)
    length_length = _vint_length(header[id_length:])
    both = id_length + length_length
    if not id_length or not length_length or both > len(header):
        return None, None, 0
    mask = (1 << (7 * length_length)) - 1
    length = int.from_bytes(header[id_length:both], "big") & mask
    return int.from_bytes(header[:id_length], "big"), None if length == mask else length, both


def _vint_length(data: bytes) -> int:
    """Length in bytes of an EBML variable-size integer; 0 if invalid."""
    return 9 - data[0].bit_length() if data and data[0] else 0


def _cut(has_bytes: int, needs_bytes: int) -> str:
    return f"it is cut off: it has {has_bytes} of at least {needs_bytes} bytes"
