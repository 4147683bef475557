"""multipart/form-data as HTTP clients write it, and what is refused."""

from __future__ import annotations

import httpx
import pytest

from api.openai.multipart import MAX_HEAD_BYTES, MAX_PARTS, Form, parse_form
from core.service.domain.errors import RequestError

BOUNDARY = "x1"


def encoded(*, fields: dict[str, str] | None = None, files: dict[str, tuple[str, bytes]] | None = None) -> Form:
    """What is read of a body that httpx has made."""
    request = httpx.Request("POST", "http://a", data=fields, files=files or {"unused": (None, b"")})
    boundary = request.headers["content-type"].partition("boundary=")[2]
    return parse_form(request.read(), boundary)


def part(head: str, content: bytes = b"a") -> bytes:
    return b"--x1\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"


def named(name: str, content: bytes = b"a") -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', content)


END = b"--x1--\r\n"


def test_texts_and_files_are_read_as_clients_write_them() -> None:
    content = bytes(range(256)) + b"\r\n--\r\n"
    form = encoded(fields={"prompt": "ein Löwe", "seconds": "4"}, files={"input_reference": ("ö.png", content)})
    assert form == Form({"prompt": "ein Löwe", "seconds": "4"}, {"input_reference": content})


def test_fields_of_an_object_are_written_in_brackets() -> None:
    form = parse_form(named("reference[image_url]") + named("reference[file_id]", b"b") + END, BOUNDARY)
    assert form.fields == {"reference": {"image_url": "a", "file_id": "b"}}


def test_preamble_padding_epilogue_and_empty_contents_are_allowed() -> None:
    data = b"hello\r\n" + named("a").replace(b"--x1\r\n", b"--x1  \r\n") + named("b", b"") + END + b"bye"
    assert parse_form(data, BOUNDARY).fields == {"a": "a", "b": ""}
    assert parse_form(END, BOUNDARY) == Form({}, {})


@pytest.mark.parametrize(
    ("data", "code", "field"),
    [
        (b"", "malformed_form", None),
        (b"prompt=a", "malformed_form", None),
        (named("prompt"), "malformed_form", None),
        (b"--x1\r\nno headers\r\n" + END, "malformed_form", None),
        (part("Content-Disposition: form-data") + END, "malformed_form", None),
        (part('Content-Disposition: attachment; name="prompt"') + END, "malformed_form", None),
        (part(f"X-Long: {'a' * MAX_HEAD_BYTES}") + END, "malformed_form", None),
        (named("prompt", b"\xff") + END, "malformed_form", "prompt"),
        (named("a") * (MAX_PARTS + 1) + END, "malformed_form", None),
        (named("prompt") + named("prompt") + END, "invalid_field", "prompt"),
        (named("a[b]") + named("a[b]") + END, "invalid_field", "a.b"),
        (named("a[b]") + named("a") + END, "invalid_field", "a"),
        (named("a") + named("a[b]") + END, "invalid_field", "a"),
        (named("a") + part('Content-Disposition: form-data; name="a"; filename="f"') + END, "invalid_field", "a"),
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes, code: str, field: str | None) -> None:
    with pytest.raises(RequestError) as refused:
        parse_form(data, BOUNDARY)
    assert (refused.value.code, refused.value.field) == (code, field)
    assert refused.value.fix
