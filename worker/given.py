"""Brings what a job begins with, an image or the end of a video, to the worker and decodes it.

Over the storage port and core.service.media; knows no engine. Needed for chunk 0 only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from core.service.catalog import Catalog
from core.service.engine import NOTHING_GIVEN, FramesTHWC, GivenMedia
from core.service.errors import MediaUnavailable, ObjectNotFound
from core.service.media.addresses import MediaAddresses, media_addresses
from core.service.media.fetch import fetch
from core.service.media.image import decode_image
from core.service.media.references import URL_USE, shown
from core.service.media.sink import MediaSink
from core.service.media.types import MediaKind
from core.service.media.uploads import is_upload_id, max_bytes, upload_key
from core.service.media.video import VideoLimits, last_frames
from core.service.schema import JobSpec
from worker.patience import Pause, patiently
from worker.services import Services
from worker.temporary import temporary_folder

logger = logging.getLogger(__name__)

Tick = Callable[[], None]
AllowedAddresses = MediaAddresses
allowed_addresses = media_addresses()


class GivenReader:
    """Reads what jobs were given."""

    def __init__(
        self,
        services: Services,
        allowed: AllowedAddresses = allowed_addresses,
    ) -> None:
        self._storage = services.storage
        self._settings = services.settings
        self._catalog = Catalog(services.settings)
        self._allowed = allowed

    def read(self, spec: JobSpec, tick: Tick, pause: Pause) -> GivenMedia:
        """What `spec` begins with, ready for the engine. `tick` is called often; it and `pause` may raise to stop.

        Raises MediaError or UrlRefused where it cannot be used, StorageError where an upload cannot be read now.
        """
        if spec.image is None and spec.video is None:
            return NOTHING_GIVEN
        with temporary_folder() as folder:
            file = Path(folder) / "given"
            if spec.image is not None:
                self._bring(MediaKind.IMAGE, spec.image, file, tick, pause)
                return GivenMedia(image=decode_image(file, self._settings.max_image_pixels))
            assert spec.video is not None
            self._bring(MediaKind.VIDEO, spec.video, file, tick, pause)
            return GivenMedia(frames=self._last_frames(spec, file, tick))

    def _last_frames(self, spec: JobSpec, file: Path, tick: Tick) -> FramesTHWC:
        settings, facts = self._settings, self._catalog.get(spec.model).facts
        limits = VideoLimits(
            settings.max_video_pixels, settings.max_video_seconds, settings.media_decode_timeout_seconds
        )
        return last_frames(file, fps=spec.fps, height=facts.height, width=facts.width, limits=limits, tick=tick)

    def _bring(self, kind: MediaKind, reference: str, file: Path, tick: Tick, pause: Pause) -> None:
        logger.info("fetching %s %s", kind, shown(reference))
        if is_upload_id(reference):
            patiently(lambda: self._copy_upload(kind, reference, file, tick), pause)
        else:
            self._fetch(kind, reference, file, tick)

    def _copy_upload(self, kind: MediaKind, upload_id: str, file: Path, tick: Tick) -> None:
        try:
            with MediaSink(file, kind, max_bytes(kind, self._settings)) as sink:
                for piece in self._storage.pieces(upload_key(upload_id)):
                    tick()
                    sink.write(piece)
                sink.finish()
        except ObjectNotFound as error:
            raise MediaUnavailable(f"the upload {upload_id} is gone", fix="upload it again") from error

    def _fetch(self, kind: MediaKind, url: str, file: Path, tick: Tick) -> None:
        with MediaSink(file, kind, max_bytes(kind, self._settings)) as sink:
            fetch(
                url,
                sink,
                allowed=lambda hop: self._allowed(hop, self._settings, URL_USE[kind]),
                timeout_seconds=self._settings.media_fetch_timeout_seconds,
                tick=tick,
            )
