"""Local files of uploads and downloads, and where a download goes on. No HTTP."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

import httpx

from client.calls.call import Call, nothing
from client.errors import ClientError

PIECE_BYTES = 1 << 18
OnBytes = Callable[[int, int], None]
"""`on_bytes(done, total)`: called after each piece of an upload or a download; total is 0 if it is not known."""
_RANGE = re.compile(r"bytes (\d+)-")


def ignore_bytes(_done: int, _total: int) -> None:
    """An OnBytes that does nothing."""


def content_type_of(path: Path) -> str:
    """By the file's name. Raises ClientError if that says nothing."""
    content_type, _ = mimetypes.guess_type(path.name)
    if content_type is None:
        raise ClientError(f"the name {path.name!r} does not say what the file is", fix="pass its content_type")
    return content_type


def read_pieces(path: Path, size_bytes: int, on_bytes: OnBytes) -> Iterator[bytes]:
    """The first `size_bytes` of a file in pieces of PIECE_BYTES, so a file that grows meanwhile is not cut wrongly."""
    done_bytes = 0
    with path.open("rb") as file:
        while piece := file.read(min(PIECE_BYTES, size_bytes - done_bytes)):
            yield piece
            done_bytes += len(piece)
            on_bytes(done_bytes, size_bytes)


@contextmanager
def whole_file(path: Path) -> Generator[BinaryIO]:
    """A file to write that gets its name only if the block succeeds; otherwise nothing is left."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as sink:
            yield sink
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@dataclass
class Download:
    """One URL that becomes a file. After a cut connection only the rest is asked for (RFC 9110, section 14), and taken
    if the answer has the same ETag as before; otherwise the file begins again."""

    url: str
    file: BinaryIO
    on_bytes: OnBytes = ignore_bytes
    done_bytes: int = field(default=0, init=False)
    _total_bytes: int = field(default=0, init=False)
    _etag: str = field(default="", init=False)

    def call(self) -> Call[None]:
        """For a stream: what is missing."""
        headers = {"Accept-Encoding": "identity"}
        if self.done_bytes:
            headers["Range"] = f"bytes={self.done_bytes}-"
        return Call("GET", self.url, nothing, {"follow_redirects": True, "headers": headers})

    def begin(self, response: httpx.Response) -> bool:
        """Take the answer's headers; whether its body may be written. If not, call again: then the whole file comes."""
        is_part = response.status_code == HTTPStatus.PARTIAL_CONTENT and self.done_bytes > 0
        if not (is_part and self._goes_on(response)):
            self.done_bytes = 0
            self.file.seek(0)
            self.file.truncate()
            if is_part:
                return False
        self._etag = response.headers.get("etag", "")
        length = response.headers.get("content-length", "")
        self._total_bytes = self.done_bytes + int(length) if length.isdecimal() else 0
        return True

    def write(self, data: bytes) -> None:
        """Append a piece of the body."""
        self.file.write(data)
        self.done_bytes += len(data)
        self.on_bytes(self.done_bytes, self._total_bytes)

    def _goes_on(self, response: httpx.Response) -> bool:
        """Whether the answer is the rest of the same bytes."""
        begins = _RANGE.match(response.headers.get("content-range", ""))
        is_same = bool(self._etag) and response.headers.get("etag") == self._etag
        return is_same and begins is not None and int(begins[1]) == self.done_bytes
