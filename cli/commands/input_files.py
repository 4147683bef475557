"""Input media of jobs as arguments of commands: a URL, an upload id, or a file, which is uploaded."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client import Longtake
    from core.service.domain.media_types import MediaKind


def reference_of(client: Longtake, option: str, kind: MediaKind, text: str) -> str:
    """A URL or upload id as it is; of a file, the id of its upload. Raises InvalidField that names the option."""
    from core.service.domain.ids import is_upload_id

    if text.startswith(("http://", "https://")) or is_upload_id(text):
        return text
    return uploaded(client, option, kind, Path(text))


def uploaded(client: Longtake, option: str, kind: MediaKind, file: Path) -> str:
    """Upload a file; its upload id. Progress goes to stderr, as stdout is for the answer. Raises InvalidField."""
    from cli.output.byte_meter import byte_meter
    from core.service.domain.errors import InvalidField
    from core.service.domain.media_types import KIND_OF_TYPE, SNIFFED_BYTES, describe, sniff, types_of

    if not file.is_file():
        raise InvalidField(f"--{option}: there is no file {file}", field=option, fix="pass a file or an http(s) URL")
    with file.open("rb") as source:
        head = source.read(SNIFFED_BYTES)
    content_type = sniff(head)
    if content_type is None or KIND_OF_TYPE[content_type] is not kind:
        taken = ", ".join(types_of(kind))
        raise InvalidField(f"--{option}: {file} is {describe(head)}", field=option, fix=f"use one of {taken}")
    with byte_meter(sys.stderr) as report:
        return client.uploads.create(file, content_type, partial(report, f"uploading {file.name}"))
