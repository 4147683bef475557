"""Which kinds of media are taken, by the type that a client declares and by a file's first bytes. Knows no limits.

A declared type only says how to treat what will come; the bytes decide what it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum


class MediaKind(StrEnum):
    """Also the name of the request's field."""

    IMAGE = "image"
    VIDEO = "video"


PNG, JPEG, WEBP = "image/png", "image/jpeg", "image/webp"
MP4, WEBM, QUICKTIME, MATROSKA = "video/mp4", "video/webm", "video/quicktime", "video/matroska"

KIND_OF_TYPE: Mapping[str, MediaKind] = {
    PNG: MediaKind.IMAGE,
    JPEG: MediaKind.IMAGE,
    WEBP: MediaKind.IMAGE,
    MP4: MediaKind.VIDEO,
    WEBM: MediaKind.VIDEO,
    QUICKTIME: MediaKind.VIDEO,
    MATROSKA: MediaKind.VIDEO,
}
"""Every content type that is taken, by its registered name (Matroska: RFC 9559, section 28)."""

UNKNOWN_TYPE = "application/octet-stream"
"""What browsers and tools declare for a file whose type they do not know: image or video, as the bytes say."""

_ALIASES: Mapping[str, str] = {
    "image/jpg": JPEG,
    "image/pjpeg": JPEG,
    "image/x-png": PNG,
    "video/3gpp": MP4,
    "video/3gpp2": MP4,
    "video/mkv": MATROSKA,
    "video/x-m4v": MP4,
    "video/x-matroska": MATROSKA,
    "application/mp4": MP4,
    "application/x-matroska": MATROSKA,
    "binary/octet-stream": UNKNOWN_TYPE,
}
"""Names that browsers, phones and tools use for the same files."""

_HEADER_VALUE = re.compile(r"[!-~]+(?: [!-~]+)*")
"""Printable ASCII, single spaces within (RFC 9110, section 5.5): signatures of S3 fold several into one."""
_MOST_CHARACTERS = 255

SNIFFED_BYTES = 512
"""As many first bytes `sniff` and `describe` look at."""

_EBML = b"\x1a\x45\xdf\xa3"
_DOC_TYPE = b"\x42\x82"
"""ID of the EBML header's element that names what the file is (RFC 8794, section 11.2.6)."""
_STILL_PICTURES = frozenset({b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1"})
"""Brands of ISO base media files that hold pictures and not videos (ISO/IEC 23008-12)."""
_QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
"""How QuickTime files from before `ftyp` may begin (QuickTime File Format Specification)."""

_OTHERS: tuple[tuple[bytes, int, str], ...] = (
    (b"GIF8", 0, "a GIF"),
    (b"AVI LIST", 8, "an AVI video"),
    (b"WAVE", 8, "a WAV sound"),
    (b"FLV\x01", 0, "a Flash video"),
    (b"OggS", 0, "an Ogg file"),
    (b"ID3", 0, "an MP3 sound"),
    (b"fLaC", 0, "a FLAC sound"),
    (b"\x30\x26\xb2\x75", 0, "a Windows Media file"),
    (b"\x00\x00\x01\xba", 0, "an MPEG video"),
    (b"\x00\x00\x01\xb3", 0, "an MPEG video"),
    (b"BM", 0, "a BMP image"),
    (b"II*\x00", 0, "a TIFF image"),
    (b"MM\x00*", 0, "a TIFF image"),
    (b"%PDF", 0, "a PDF document"),
    (b"PK\x03\x04", 0, "a ZIP archive"),
    (b"\x1f\x8b", 0, "a gzip archive"),
    (b"#EXTM3U", 0, "a playlist, not the video itself"),
)
"""Signature, where it stands, and what such a file is called."""
_HTML = re.compile(rb"<(!doctype html|html|head|body|script|title|meta|!--)", re.IGNORECASE)


def types_of(kind: MediaKind) -> tuple[str, ...]:
    """The content types of a kind."""
    return tuple(name for name, its_kind in KIND_OF_TYPE.items() if its_kind is kind)


def registered(declared: str) -> str:
    """A declared content type without parameters, in lower case, aliases by their registered name.

    `video/webm;codecs=vp8,opus` and `VIDEO/WEBM` are both `video/webm` (RFC 9110, section 8.3.1).
    """
    bare = declared.partition(";")[0].strip().lower()
    return _ALIASES.get(bare, bare)


def kinds_of(declared: str) -> frozenset[MediaKind]:
    """What a file declared as this may turn out to be; empty for types that are not taken."""
    name = registered(declared)
    if name == UNKNOWN_TYPE:
        return frozenset(MediaKind)
    return frozenset({KIND_OF_TYPE[name]}) if name in KIND_OF_TYPE else frozenset()


def is_header_value(declared: str) -> bool:
    """Whether a client's text can be sent and signed as a Content-Type, byte by byte as it is."""
    return len(declared) <= _MOST_CHARACTERS and _HEADER_VALUE.fullmatch(declared) is not None


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
    if head.startswith(_EBML):
        # Whatever it calls itself, it is read by one demuxer, which looks for itself.
        return WEBM if b"webm" in head[head.find(_DOC_TYPE) :][:16] else MATROSKA
    return _sniff_boxes(head)


def _sniff_boxes(head: bytes) -> str | None:
    """MP4 and QuickTime: boxes of a length, a name and, for the first, a brand."""
    name, brand = head[4:8], head[8:12]
    if name == b"ftyp":
        return None if brand in _STILL_PICTURES else QUICKTIME if brand == b"qt  " else MP4
    return QUICKTIME if name in _QUICKTIME_BOXES else None


def describe(head: bytes) -> str:
    """What a file is, by its first SNIFFED_BYTES, in words for the one who sent it."""
    taken = sniff(head)
    if taken is not None:
        return taken
    if head[4:8] == b"ftyp":
        return "an AVIF image" if head[8:11] == b"avi" else "a HEIC image"
    for signature, offset, name in _OTHERS:
        if head[offset:].startswith(signature):
            return name
    return _describe_text(head)


def _describe_text(head: bytes) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _HTML.match(text):
        return "an HTML page"
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        return "an SVG drawing"
    if text.startswith((b"<", b"{", b"[")) and _is_text(text):
        return "an XML text" if text.startswith(b"<") else "a JSON text"
    return "a text" if text and _is_text(text) else "of an unknown type"


def _is_text(head: bytes) -> bool:
    return not any(byte < ord(" ") and byte not in b"\t\n\r\f\x1b" for byte in head)
