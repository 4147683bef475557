"""A file that receives input media while they are downloaded, with a limit of size and a check of the type."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from core.service.domain.errors import MediaFetchFailed, MediaTooLarge, MediaTypeRefused, MediaUnreadable
from core.service.domain.media_types import KIND_OF_TYPE, SNIFFED_BYTES, MediaKind, describe, sniff, types_of


class MediaSink:
    """A new file at `path` of at most `max_bytes` with one kind of media. Use as a context manager.

    The type is checked by the first bytes as soon as they are received, so that a wrong file is not downloaded whole.
    """

    def __init__(self, path: Path, kind: MediaKind, max_bytes: int) -> None:
        self._file = path.open("wb")
        self._kind = kind
        self.max_bytes = max_bytes
        self._head = b""
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.close()

    def expect(self, size_bytes: int) -> None:
        """Check the size that the server declares. Raises MediaTooLarge."""
        if size_bytes > self.max_bytes:
            raise self._too_large()

    def write(self, piece: bytes) -> None:
        """Append bytes. Raises MediaTooLarge, MediaTypeRefused, or MediaFetchFailed if the disk is full."""
        self._size += len(piece)
        if self._size > self.max_bytes:
            raise self._too_large()
        known = len(self._head) >= SNIFFED_BYTES
        self._head += piece[: SNIFFED_BYTES - len(self._head)]
        if not known and len(self._head) >= SNIFFED_BYTES:
            self._check_type()
        try:
            self._file.write(piece)
        except OSError as error:  # not the server's fault, but a retry may find more space
            raise MediaFetchFailed(f"the worker cannot store it: {error.strerror}", fix="try again later") from error

    def finish(self) -> None:
        """End of the download. Raises MediaUnreadable if it is empty, MediaTypeRefused if its type is not accepted."""
        if not self._head:
            raise MediaUnreadable(f"the {self._kind} has no bytes", fix="give a whole file")
        self._check_type()
        self._file.flush()

    def _check_type(self) -> None:
        content_type = sniff(self._head)
        if content_type is None:
            raise self._refused(describe(self._head), self._fix_of_pages() or self._fix())
        found = KIND_OF_TYPE[content_type]
        if found is not self._kind:
            raise self._refused(content_type, f"give it as `{found}`, or {self._fix()}")

    def _refused(self, found: str, fix: str) -> MediaTypeRefused:
        return MediaTypeRefused(f"the {self._kind} is {found}, by its first bytes", fix=fix)

    def _fix(self) -> str:
        return f"give one of {', '.join(types_of(self._kind))}"

    def _fix_of_pages(self) -> str | None:
        """Servers that need a login or a click answer with a page and status 200."""
        is_page = describe(self._head) in {"an HTML page", "a JSON text", "an XML text"}
        return f"give the URL of the {self._kind} file itself, one that needs no login" if is_page else None

    def _too_large(self) -> MediaTooLarge:
        message = f"the {self._kind} has more than the {self.max_bytes} bytes allowed"
        return MediaTooLarge(message, fix="give a smaller file")
