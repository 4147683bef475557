"""Accepted media types, by a client's declaration and by a file's first bytes.

The declared type only decides how an upload is treated; the bytes decide what it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum


class MediaKind(StrEnum):
    """Kind of input media; also the name of the request's field."""

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
"""All accepted content types, by registered name (Matroska: RFC 9559, section 28)."""

UNKNOWN_TYPE = "application/octet-stream"
"""Declared by browsers and tools for files of a type they do not know: may be an image or a video."""

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
"""Other names that browsers, phones and tools use."""

_HEADER_VALUE = re.compile(r"[!-~]+(?: [!-~]+)*")
"""Printable ASCII with single spaces (RFC 9110, section 5.5): S3 signatures fold several spaces into one."""
_MOST_CHARACTERS = 255

SNIFFED_BYTES = 512
"""Number of first bytes that `sniff` and `describe` need."""

_EBML = b"\x1a\x45\xdf\xa3"
_DOC_TYPE = b"\x42\x82"
"""ID of the EBML DocType element (RFC 8794, section 11.2.6)."""
_STILL_PICTURES = frozenset({b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1"})
"""Brands of ISO base media files that hold images, not videos (ISO/IEC 23008-12)."""
_QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
"""First boxes of QuickTime files without `ftyp` (QuickTime File Format Specification)."""

_OTHER_SIGNATURES: tuple[tuple[bytes, int, str], ...] = (
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
"""Signature, its offset, and the name of the file type in messages."""
_HTML = re.compile(rb"<(!doctype html|html|head|body|script|title|meta|!--)", re.IGNORECASE)


def types_of(kind: MediaKind) -> tuple[str, ...]:
    """The content types of a kind."""
    return tuple(name for name, its_kind in KIND_OF_TYPE.items() if its_kind is kind)


def registered_type(declared: str) -> str:
    """Registered name of a declared content type: no parameters, lower case, aliases resolved.

    `video/webm;codecs=vp8,opus` and `VIDEO/WEBM` are both `video/webm` (RFC 9110, section 8.3.1).
    """
    bare = declared.partition(";")[0].strip().lower()
    return _ALIASES.get(bare, bare)


def kinds_of(declared: str) -> frozenset[MediaKind]:
    """Kinds of media that a file with this declared type may be; empty for types that are not accepted."""
    name = registered_type(declared)
    if name == UNKNOWN_TYPE:
        return frozenset(MediaKind)
    return frozenset({KIND_OF_TYPE[name]}) if name in KIND_OF_TYPE else frozenset()


def is_header_value(declared: str) -> bool:
    """Whether the text can be sent and signed unchanged as a Content-Type."""
    return len(declared) <= _MOST_CHARACTERS and _HEADER_VALUE.fullmatch(declared) is not None


def sniff(head: bytes) -> str | None:
    """Content type of a file by its first SNIFFED_BYTES; None for types that are not accepted.

    Source: WHATWG MIME Sniffing, sections 6.1 and 6.2.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head.startswith(_EBML):
        # One demuxer reads both, so the name hardly matters.
        return WEBM if b"webm" in head[head.find(_DOC_TYPE) :][:16] else MATROSKA
    return _sniff_boxes(head)


def _sniff_boxes(head: bytes) -> str | None:
    """MP4 and QuickTime: the first box has a length, a type and a brand."""
    name, brand = head[4:8], head[8:12]
    if name == b"ftyp":
        return None if brand in _STILL_PICTURES else QUICKTIME if brand == b"qt  " else MP4
    return QUICKTIME if name in _QUICKTIME_BOXES else None


def describe(head: bytes) -> str:
    """File type by the first SNIFFED_BYTES, as a phrase for messages to the client."""
    content_type = sniff(head)
    if content_type is not None:
        return content_type
    if head[4:8] == b"ftyp":
        return "an AVIF image" if head[8:11] == b"avi" else "a HEIC image"
    for signature, offset, name in _OTHER_SIGNATURES:
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
