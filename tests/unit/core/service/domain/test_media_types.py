"""Media types are recognised by their first bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.service.domain.media_types import (
    KIND_OF_TYPE,
    SNIFFED_BYTES,
    MediaKind,
    describe,
    is_header_value,
    kinds_of,
    registered_type,
    sniff,
    types_of,
)
from tests.helpers.clips import clip, picture


@pytest.mark.parametrize("name", ["png", "jpeg", "webp"])
def test_images_are_known(name: str) -> None:
    assert sniff(picture((1, 2, 3), format=name.upper())[:SNIFFED_BYTES]) == f"image/{name}"


@pytest.mark.parametrize(("suffix", "content_type"), [("mp4", "mp4"), ("mov", "quicktime"), ("webm", "webm")])
def test_videos_are_known(tmp_path: Path, suffix: str, content_type: str) -> None:
    assert sniff(clip(tmp_path / f"a.{suffix}", 2).read_bytes()[:SNIFFED_BYTES]) == f"video/{content_type}"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x89PNG",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1",
        b"ffconcat version 1.0\nfile /etc/hostname",
        b"GIF89a",
        b"<svg xmlns='http://www.w3.org/2000/svg'>",
        b"RIFF\x00\x00\x00\x00AVI LIST",
        b"\x00\x00\x00\x1cftypheic\x00\x00\x00\x00",
    ],
)
def test_all_else_is_refused(head: bytes) -> None:
    assert sniff(head) is None


def test_every_type_has_a_kind() -> None:
    assert {*types_of(MediaKind.IMAGE), *types_of(MediaKind.VIDEO)} == set(KIND_OF_TYPE)


def test_matroska_is_taken_wherever_its_name_stands() -> None:
    assert sniff(b"\x1a\x45\xdf\xa3\xa3\x42\x82\x88matroska") == "video/matroska"
    padded = b"\x1a\x45\xdf\xa3\x40\x99" + b"\xec\x40\x80" + bytes(128) + b"\x42\x82\x84webm"
    assert sniff(padded) == "video/webm"


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        ("video/webm;codecs=vp8,opus", "video/webm"),
        ('video/mp4; codecs="avc1.42E01E, mp4a.40.2"', "video/mp4"),
        ("video/x-matroska;codecs=avc1,opus", "video/matroska"),
        ("VIDEO/MP4", "video/mp4"),
        ("Image/PNG ; a=b", "image/png"),
        ("image/jpg", "image/jpeg"),
        ("image/pjpeg", "image/jpeg"),
        ("video/x-m4v", "video/mp4"),
        ("video/3gpp", "video/mp4"),
        ("text/html; charset=utf-8", "text/html"),
    ],
)
def test_declared_types_are_known_by_parameters_case_and_alias(declared: str, name: str) -> None:
    assert registered_type(declared) == name
    assert kinds_of(declared) == ({KIND_OF_TYPE[name]} if name in KIND_OF_TYPE else set())


def test_an_unknown_type_may_be_of_either_kind() -> None:
    assert kinds_of("application/octet-stream") == kinds_of("binary/octet-stream") == set(MediaKind)
    assert kinds_of("") == kinds_of("video") == kinds_of("audio/mp4") == set()


@pytest.mark.parametrize(
    "text", ["video/mp4\r\nx: y", "video/mp4;  a=b", " video/mp4", "video/mp4;a=\u00e9", "", "a" * 256]
)
def test_invalid_header_values_are_recognised(text: str) -> None:
    assert not is_header_value(text)
    assert is_header_value('video/mp4; codecs="avc1.42E01E, mp4a.40.2"')


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"<!DOCTYPE html><title>Sign in", "an HTML page"),
        (b"\xef\xbb\xbf \n<html lang=en>", "an HTML page"),
        (b'{"error": "not found"}', "a JSON text"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "an XML text"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "an SVG drawing"),
        (b"#EXTM3U\n", "a playlist, not the video itself"),
        (b"GIF89a", "a GIF"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "an AVI video"),
        (b"\x00\x00\x00\x1cftypheic\x00\x00\x00\x00", "a HEIC image"),
        (b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00", "an AVIF image"),
        (b"404 page not found", "a text"),
        (b"\x00\x01\x02", "of an unknown type"),
        (b"\xff\xd8\xff", "image/jpeg"),
    ],
)
def test_what_is_refused_is_called_what_it_is(head: bytes, words: str) -> None:
    assert describe(head) == words
