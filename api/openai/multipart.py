"""Reads multipart/form-data (RFC 7578): text fields, and files. A body in memory; its size was limited before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import HeaderParser
from email.utils import collapse_rfc2231_value
from typing import cast

from core.service.domain.errors import InvalidField, MalformedForm, shortened

MAX_PARTS = 32
MAX_HEAD_BYTES = 4096
_NESTED = re.compile(r"([^\[\]]+)\[([^\[\]]+)\]")
"""How HTTP clients write a field of an object: `input_reference[image_url]`."""
_FIX = "let your HTTP library make the body and its Content-Type header"


@dataclass(frozen=True)
class Form:
    """Fields, and files by field. The fields of multipart/form-data are texts and objects of texts."""

    fields: object
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


class _Parts:
    """Collects the parts of a form."""

    def __init__(self) -> None:
        self.fields = dict[str, object]()
        self.files = dict[str, bytes]()

    def add(self, name: str, content: bytes, *, is_file: bool) -> None:
        """Raises InvalidField for a field that is given twice, MalformedForm for a text that is not UTF-8."""
        nested = _NESTED.fullmatch(name)
        if is_file:
            self._new(name)
            self.files[name] = content
        elif nested:
            self._add_nested(nested[1], nested[2], _text_of(content, name))
        else:
            self._new(name)
            self.fields[name] = _text_of(content, name)

    def _add_nested(self, outer: str, inner: str, text: str) -> None:
        if not isinstance(self.fields.get(outer), dict):
            self._new(outer)
            self.fields[outer] = dict[str, str]()
        texts = cast(dict[str, str], self.fields[outer])
        if inner in texts:
            raise _twice(f"{outer}.{inner}")
        texts[inner] = text

    def _new(self, name: str) -> None:
        if name in self.fields or name in self.files:
            raise _twice(name)


def parse_form(data: bytes, boundary: str) -> Form:
    """The form in a body. Raises MalformedForm, InvalidField."""
    delimiter = b"\r\n--" + boundary.encode()
    _preamble, *parts = (b"\r\n" + data).split(delimiter, MAX_PARTS + 1)
    if len(parts) > MAX_PARTS:
        raise MalformedForm(f"the body has more than {MAX_PARTS} parts", fix="send fewer fields")
    if not parts or not parts[-1].startswith(b"--"):
        raise MalformedForm("the body does not end with its boundary", fix=_FIX)
    found = _Parts()
    for part in parts[:-1]:
        _add_part(found, part)
    return Form(found.fields, found.files)


def _add_part(found: _Parts, part: bytes) -> None:
    """A part, from the end of its delimiter on: padding, line break, headers, empty line, content (RFC 2046, 5.1.1)."""
    head, separator, content = part.lstrip(b" \t").partition(b"\r\n\r\n")
    if not separator or len(head) > MAX_HEAD_BYTES:
        raise MalformedForm(f"a part of the body has no headers of at most {MAX_HEAD_BYTES} bytes", fix=_FIX)
    headers = HeaderParser().parsestr(head.removeprefix(b"\r\n").decode("utf-8", "replace"))
    name = _parameter(headers, "name")
    if headers.get_content_disposition() != "form-data" or not name:
        raise MalformedForm("a part of the body has no name", fix=_FIX)
    found.add(name, content, is_file=_parameter(headers, "filename") is not None)


def _parameter(headers: Message, name: str) -> str | None:
    """A parameter of Content-Disposition."""
    value = headers.get_param(name, header="content-disposition")
    return None if value is None else collapse_rfc2231_value(value)


def _text_of(content: bytes, name: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise MalformedForm(f"{shortened(name, 64)} is not UTF-8", field=shortened(name, 64), fix=_FIX) from error


def _twice(name: str) -> InvalidField:
    shown = shortened(name, 64)
    return InvalidField(f"{shown} is given more than once", field=shown, fix="give it once")
