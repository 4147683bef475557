"""Which kinds of media are taken, and how they are told apart by their first bytes. Knows no files and no limits."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class MediaKind(StrEnum):
    """Also the name of the request's field."""

    IMAGE = "image"
    VIDEO = "video"


PNG, JPEG, WEBP = "image/png", "image/jpeg", "image/webp"
MP4, WEBM, QUICKTIME = "video/mp4", "video/webm", "video/quicktime"

KIND_OF_TYPE: Mapping[str, MediaKind] = {
    PNG: MediaKind.IMAGE,
    JPEG: MediaKind.IMAGE,
    WEBP: MediaKind.IMAGE,
    MP4: MediaKind.VIDEO,
    WEBM: MediaKind.VIDEO,
    QUICKTIME: MediaKind.VIDEO,
}
"""Every content type that is taken."""

SNIFFED_BYTES = 64
"""As many first bytes `sniff` looks at."""

_STILL_PICTURES = frozenset({b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1"})
"""Brands of ISO base media files that hold pictures and not videos (ISO/IEC 23008-12)."""
_QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
"""How QuickTime files from before `ftyp` may begin (QuickTime File Format Specification)."""


def types_of(kind: MediaKind) -> tuple[str, ...]:
    """The content types of a kind."""
    return tuple(name for name, its_kind in KIND_OF_TYPE.items() if its_kind is kind)


def sniff(head: bytes) -> str | None:
    """The content type that a file's first SNIFFED_BYTES show; None for anything that is not taken.

    Source: WHATWG MIME Sniffing, sections 6.1 and 6.2.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return WEBM if b"webm" in head[:SNIFFED_BYTES] else None
    return _sniff_boxes(head)


def _sniff_boxes(head: bytes) -> str | None:
    """MP4 and QuickTime: boxes of a length, a name and, for the first, a brand."""
    name, brand = head[4:8], head[8:12]
    if name == b"ftyp":
        return None if brand in _STILL_PICTURES else QUICKTIME if brand == b"qt  " else MP4
    return QUICKTIME if name in _QUICKTIME_BOXES else None
