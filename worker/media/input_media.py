"""Fetches and decodes the input media of jobs on a CPU worker: an image, the end of a video, or a whole video.

Knows no lease, no job store and no engine.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from core.service.admission.catalog import Catalog
from core.service.admission.media_references import URL_USE, shown
from core.service.domain.errors import MediaTooLarge, MediaUnavailable, ObjectNotFound
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.ids import is_upload_id
from core.service.domain.media_types import MediaKind
from core.service.domain.schema import InputMediaReference, JobSpec, JobWarning
from core.service.domain.uploads import upload_key
from core.service.media.allowed_addresses import MediaAddresses, media_addresses
from core.service.media.decoded import Tick
from core.service.media.fetch import fetch
from core.service.media.limited_file import MediaSink
from core.service.media.uploads import max_bytes
from core.service.media_sizes import MEDIA_DISK_KEPT_FREE
from worker.media.decode import PIECES, Decode, DecodeRequest, decode_request
from worker.media.decoder_pool import DecoderPool
from worker.media.input_length import DecodedMedia, with_length
from worker.runtime.server_retry import Pause, with_retries
from worker.runtime.services import Services
from worker.runtime.temporary_folders import temporary_folder

logger = logging.getLogger(__name__)

OWNERS = 4
"""One owner may use 1/OWNERS of the disk budget, and at least what one of the largest files needs."""
_DISK_SETTING = "LONGTAKE_MEDIA_DISK_BYTES"
SMALL_FILE_BYTES = 20_000_000
"""Larger files leave a part of the budget free for files up to this size (MEDIA_DISK_KEPT_FREE)."""


class DiskBudget:
    """Limits the bytes of input media on the disk of one process, in total and per owner.

    A job that finds too little free gets ENOSPC, releases what it has, and is retried later.
    """

    def __init__(self, most_bytes: int, largest_bytes: int) -> None:
        """`largest_bytes`: the most that one file may need."""
        self._free = most_bytes
        self._kept_free = most_bytes // MEDIA_DISK_KEPT_FREE
        self._share = min(max(most_bytes // OWNERS, largest_bytes), most_bytes - self._kept_free)
        self._taken = Counter[str]()
        self._lock = threading.Lock()

    @contextmanager
    def reserve(self, owner: str) -> Generator[DiskReservation]:
        """A reservation for one file, released at the end of the block."""
        reservation = DiskReservation(self, owner)
        try:
            yield reservation
        finally:
            reservation.clear()

    def take(self, owner: str, has: int, count: int) -> None:
        """Take `count` more bytes for a file that `has` some.

        Raises OSError (ENOSPC); MediaTooLarge for a file that does not fit into the whole budget of its owner.
        """
        needs = has + count
        if needs > self._share:
            message = f"it needs more than the {self._share} bytes of disk that one file may use"
            raise MediaTooLarge(message, fix="give a smaller file")
        with self._lock:
            free = self._free - (self._kept_free if needs > SMALL_FILE_BYTES else 0)
            if count > free or self._taken[owner] + count > self._share:
                raise OSError(errno.ENOSPC, "too little disk space for another image or video")
            self._free -= count
            self._taken[owner] += count

    def left_for(self, has: int) -> int:
        """Bytes by which a file that `has` some may grow, if nobody else has any."""
        return self._share - has

    def give_back(self, owner: str, count: int) -> None:
        with self._lock:
            self._free += count
            self._taken[owner] -= count
            self._taken += Counter()  # drops entries of zero


class DiskReservation:
    """The bytes of a budget that one file has taken."""

    def __init__(self, budget: DiskBudget, owner: str) -> None:
        self._budget = budget
        self._owner = owner
        self._taken = 0

    def take(self, count: int) -> None:
        self._budget.take(self._owner, self._taken, count)
        self._taken += count

    @property
    def left(self) -> int:
        """Bytes by which the file may grow, if nobody else has any."""
        return self._budget.left_for(self._taken)

    def clear(self) -> None:
        self._budget.give_back(self._owner, self._taken)
        self._taken = 0


class _GrowingReservation:
    """Takes what the pieces of a video need while they are written."""

    def __init__(self, reservation: DiskReservation, folder: Path, tick: Tick) -> None:
        self._reservation = reservation
        self._folder = folder
        self._tick = tick
        self._taken = 0

    def tick(self) -> None:
        """Raises what the tick raises, OSError (ENOSPC), and MediaTooLarge with a length that would do."""
        self._tick()
        sizes = [piece.stat().st_size for piece in self._folder.glob(PIECES)]
        size = sum(sizes)
        try:
            self._reservation.take(size - self._taken)
        except MediaTooLarge as error:
            fitting = (self._reservation.left + self._taken) // max(sizes) * CHUNK_FRAMES
            fix = f"ask for at most {fitting} frames or a smaller size, or the operator for more {_DISK_SETTING}"
            raise MediaTooLarge(error.message, fix=fix) from error
        self._taken = size


class _CountedSink(MediaSink):
    """A sink whose bytes are taken from a reservation, which is cleared first."""

    def __init__(self, path: Path, kind: MediaKind, most_bytes: int, reservation: DiskReservation) -> None:
        super().__init__(path, kind, most_bytes)
        reservation.clear()
        self._reservation = reservation

    def write(self, piece: bytes) -> None:
        self._reservation.take(len(piece))
        super().write(piece)


class InputMediaReader:
    """Fetches and decodes the input media of jobs. One per process, shared by its threads."""

    def __init__(self, services: Services, allowed: MediaAddresses | None = None, decode: Decode | None = None) -> None:
        self._storage = services.storage
        self._settings = services.settings
        self._catalog = Catalog(services.settings)
        self._allowed = allowed or media_addresses()
        self._decode = decode or DecoderPool(services.settings.media_decodes)
        self._budget = DiskBudget(services.settings.media_disk_bytes, services.settings.largest_media_bytes)

    @contextmanager
    def reading(self, spec: JobSpec, tick: Tick, pause: Pause, owner: str = "") -> Generator[DecodedMedia]:
        """The decoded input media of `spec`, in files that are removed at the end of the block.

        `tick` is called often; it and `pause` may raise to stop. Disk space and decoders are limited per `owner`.
        Raises MediaError (VideoTooShort, too) or UrlRefused if the media cannot be used, StorageError if an upload
        cannot be read now, OSError if this machine's disk is full.
        """
        kind, reference, _ = given = input_media_of(spec)
        preset = self._catalog.get(spec.model).preset
        with temporary_folder() as name, self._budget.reserve(owner) as reservation:
            whole = preset.capabilities.goes_along(spec)
            size = (spec.height or preset.height, spec.width or preset.width)
            request = decode_request(kind, Path(name), spec, size, self._settings, owner, whole=whole)

            def new_sink() -> MediaSink:
                return _CountedSink(request.file, kind, max_bytes(kind, self._settings), reservation)

            logger.info("fetching %s %s", kind, shown(reference))
            if is_upload_id(reference):
                with_retries(lambda: self._copy_upload(reference, new_sink, tick), pause)
            else:
                self._fetch(kind, reference, new_sink, tick)
            warnings = self._decoded(request, reservation, tick)
            reservation.take(request.result.stat().st_size)
            with request.result.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            told = tuple(warning.model_copy(update={"field": given.field}) for warning in warnings)
            decoded = DecodedMedia(request.result, sha256, told, tuple(sorted(Path(name).glob(PIECES))))
            yield with_length(decoded, given.field, spec, preset, self._settings) if whole else decoded

    def _decoded(self, request: DecodeRequest, reservation: DiskReservation, tick: Tick) -> tuple[JobWarning, ...]:
        """Decode. The pieces of a whole video take disk space as they grow: it may be shorter than asked for."""
        if request.whole_frames is None:
            return self._decode(request, tick)
        growing = _GrowingReservation(reservation, request.result.parent, tick)
        warnings = self._decode(request, growing.tick)
        growing.tick()
        return warnings

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


def input_media_of(spec: JobSpec) -> InputMediaReference:
    """The input media of a job that has some."""
    assert spec.input_media is not None, "the job has no input media"
    return spec.input_media
