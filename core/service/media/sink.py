"""Where the bytes of a given image or video go while they come: a file that does not grow beyond what is allowed.

Knows nothing of where they come from.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from core.service.errors import MediaFetchFailed, MediaTooLarge, MediaTypeRefused
from core.service.media.types import KIND_OF_TYPE, SNIFFED_BYTES, MediaKind, sniff, types_of


class MediaSink:
    """A file under `path`, written anew, of at most `max_bytes` of one kind of media. Use as a context manager.

    The kind is told from the first bytes as soon as they are there: whatever was said of the rest is not trusted, and
    not fetched for nothing.
    """

    def __init__(self, path: Path, kind: MediaKind, max_bytes: int) -> None:
        self._file = path.open("wb")
        self._kind = kind
        self._max_bytes = max_bytes
        self._head = b""
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.close()

    def expect(self, size_bytes: int) -> None:
        """What a server says will come. Raises MediaTooLarge."""
        if size_bytes > self._max_bytes:
            raise self._too_large()

    def write(self, piece: bytes) -> None:
        """Raises MediaTooLarge, MediaTypeRefused, or MediaFetchFailed where the disk is full."""
        self._size += len(piece)
        if self._size > self._max_bytes:
            raise self._too_large()
        known = len(self._head) >= SNIFFED_BYTES
        self._head += piece[: SNIFFED_BYTES - len(self._head)]
        if not known and len(self._head) >= SNIFFED_BYTES:
            self._check_type()
        try:
            self._file.write(piece)
        except OSError as error:  # not the server's fault, but another try may meet an emptier disk
            raise MediaFetchFailed(f"the worker cannot keep it: {error.strerror}", fix="try again later") from error

    def finish(self) -> None:
        """All has come. Raises MediaTypeRefused where it was too little to tell."""
        self._check_type()
        self._file.flush()

    def _check_type(self) -> None:
        content_type = sniff(self._head)
        if content_type is None or KIND_OF_TYPE[content_type] is not self._kind:
            found = content_type or "something else"
            taken = ", ".join(types_of(self._kind))
            raise MediaTypeRefused(f"the {self._kind} is {found}, by its first bytes", fix=f"give one of {taken}")

    def _too_large(self) -> MediaTooLarge:
        message = f"the {self._kind} has more than the {self._max_bytes} bytes allowed"
        return MediaTooLarge(message, fix="give a smaller file")
