"""Fetches and decodes the input media of jobs on a CPU worker: an image, the end of a video, or a whole video.

Over the storage port and core.service.media; knows no lease, no store and no engine.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.service.admission.catalog import Catalog
from core.service.admission.media_references import URL_USE, shown
from core.service.domain.errors import MediaTooLarge, MediaUnavailable, ObjectNotFound
from core.service.domain.ids import is_upload_id
from core.service.domain.media_types import MediaKind
from core.service.domain.schema import JobSpec, JobWarning
from core.service.domain.uploads import upload_key
from core.service.media.allowed_addresses import MediaAddresses, media_addresses
from core.service.media.decoded import Tick
from core.service.media.fetch import fetch
from core.service.media.limited_file import MediaSink
from core.service.media.uploads import max_bytes
from core.service.settings import MEDIA_DISK_KEPT_FREE
from worker.media.decode_process import Decode, DecodingProcesses, decode_order
from worker.runtime.server_retry import Pause, with_retries
from worker.runtime.services import Services
from worker.runtime.temporary_folders import temporary_folder

logger = logging.getLogger(__name__)

OWNERS = 4
"""One owner's files have a quarter of the disk; or what one of the largest needs, where that is more."""
SMALL_FILE_BYTES = 20_000_000
"""Files up to here have a part of the disk that larger ones leave alone (MEDIA_DISK_KEPT_FREE)."""


class DiskBudget:
    """How many bytes of fetched files one process keeps, and how many of one owner. Who asks for more than there is is
    told that the disk is full, and comes back later: what it gives back lets the others end."""

    def __init__(self, most_bytes: int, largest_bytes: int) -> None:
        """`largest_bytes`: what one file may need."""
        self._free = most_bytes
        self._kept_free = most_bytes // MEDIA_DISK_KEPT_FREE
        self._share = min(max(most_bytes // OWNERS, largest_bytes), most_bytes - self._kept_free)
        self._taken = Counter[str]()
        self._lock = threading.Lock()

    @contextmanager
    def room(self, owner: str) -> Generator[Room]:
        """For one file, until it is gone."""
        room = Room(self, owner)
        try:
            yield room
        finally:
            room.clear()

    def take(self, owner: str, has: int, count: int) -> None:
        """`count` bytes more for a file that `has` some. Raises OSError (ENOSPC), and MediaTooLarge for a file that
        would find no room if it were alone."""
        needs = has + count
        if needs > self._share:
            message = f"it needs more than the {self._share} bytes of disk that one file may take"
            raise MediaTooLarge(message, fix="give a smaller one")
        with self._lock:
            free = self._free - (self._kept_free if needs > SMALL_FILE_BYTES else 0)
            if count > free or self._taken[owner] + count > self._share:
                raise OSError(errno.ENOSPC, "no room for another image or video")
            self._free -= count
            self._taken[owner] += count

    def give_back(self, owner: str, count: int) -> None:
        with self._lock:
            self._free += count
            self._taken[owner] -= count
            self._taken += Counter()  # forgets those who have none


class Room:
    """What one file has of a budget."""

    def __init__(self, budget: DiskBudget, owner: str) -> None:
        self._budget = budget
        self._owner = owner
        self._taken = 0

    def take(self, count: int) -> None:
        self._budget.take(self._owner, self._taken, count)
        self._taken += count

    def clear(self) -> None:
        self._budget.give_back(self._owner, self._taken)
        self._taken = 0


class _CountedSink(MediaSink):
    """A sink, from its beginning, whose bytes need room."""

    def __init__(self, path: Path, kind: MediaKind, most_bytes: int, room: Room) -> None:
        super().__init__(path, kind, most_bytes)
        room.clear()
        self._room = room

    def write(self, piece: bytes) -> None:
        self._room.take(len(piece))
        super().write(piece)


@dataclass(frozen=True)
class Pixels:
    """The decoded input media as they are stored, and the warnings.

    `file` is InputMedia.to_bytes; or, of a whole video, the index of `pieces`.
    """

    file: Path
    sha256: str
    warnings: tuple[JobWarning, ...]
    pieces: tuple[Path, ...] = ()


class InputMediaReader:
    """Reads what jobs were given. One for all threads of a process."""

    def __init__(self, services: Services, allowed: MediaAddresses | None = None, decode: Decode | None = None) -> None:
        self._storage = services.storage
        self._settings = services.settings
        self._catalog = Catalog(services.settings)
        self._allowed = allowed or media_addresses()
        self._decode = decode or DecodingProcesses(services.settings.media_decodes)
        self._budget = DiskBudget(services.settings.media_disk_bytes, services.settings.largest_media_bytes)

    @contextmanager
    def reading(self, spec: JobSpec, tick: Tick, pause: Pause, owner: str = "") -> Generator[Pixels]:
        """What `spec` begins with, in a file that goes in the end. `tick` is called often; it and `pause` may raise to
        stop. No `owner` has all of the disk, or all decoders.

        Raises MediaError or UrlRefused where it cannot be used, StorageError where an upload cannot be read now,
        OSError where this machine's disk is full.
        """
        kind, reference = given_of(spec)
        preset = self._catalog.get(spec.model).preset
        with temporary_folder() as name, self._budget.room(owner) as room:
            whole = kind is MediaKind.VIDEO and preset.capabilities.video == "whole"
            size = (preset.height, preset.width)
            order = decode_order(kind, Path(name), spec, size, self._settings, owner, whole=whole)

            def new_sink() -> MediaSink:
                return _CountedSink(order.file, kind, max_bytes(kind, self._settings), room)

            logger.info("fetching %s %s", kind, shown(reference))
            if is_upload_id(reference):
                with_retries(lambda: self._copy_upload(reference, new_sink, tick), pause)
            else:
                self._fetch(kind, reference, new_sink, tick)
            room.take(order.pixel_bytes)
            warnings = self._decode(order, tick)
            room.take(order.result.stat().st_size)
            with order.result.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            yield Pixels(order.result, sha256, warnings, tuple(sorted(order.result.parent.glob("piece-*"))))

    def _copy_upload(self, upload_id: str, new_sink: Callable[[], MediaSink], tick: Tick) -> None:
        try:
            with new_sink() as sink:
                for piece in self._storage.pieces(upload_key(upload_id)):
                    tick()
                    sink.write(piece)
                sink.finish()
        except ObjectNotFound as error:
            raise MediaUnavailable(f"the upload {upload_id} is gone", fix="upload it again") from error

    def _fetch(self, kind: MediaKind, url: str, new_sink: Callable[[], MediaSink], tick: Tick) -> None:
        with new_sink() as sink:
            fetch(
                url,
                sink,
                allowed=lambda hop: self._allowed(hop, self._settings, URL_USE[kind]),
                timeout_seconds=self._settings.media_fetch_timeout_seconds,
                tick=tick,
            )


def given_of(spec: JobSpec) -> tuple[MediaKind, str]:
    """What kind of media a job begins with, and its URL or upload."""
    if spec.image is not None:
        return MediaKind.IMAGE, spec.image
    assert spec.video is not None, "the job begins with nothing"
    return MediaKind.VIDEO, spec.video
