"""Decodes one file of input media into exact pixels. Knows no job, no store, no network and no process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from core.service.domain.engine import InputMedia
from core.service.domain.media_types import MediaKind
from core.service.domain.schema import JobSpec, JobWarning
from core.service.media.decoded import Decoded, Tick
from core.service.media.image import decode_image
from core.service.media.video import DecodeLimits, last_frames, sampled_frames
from core.service.settings import Settings
from worker.media.frame_pieces import write_pieces

WALL_FACTOR = 4.0
"""Wall-clock limit of a decoder, in units of its `decode_seconds`: other processes use the CPU, too. Only CPU time says
that a file takes too long."""
RGB_CHANNELS = 3
PIECES = "piece-*"
"""The files of the pieces of a whole video."""


class DecodeRequest(BaseModel):
    """What to decode, within which limits, and where the pixels are written (InputMedia.to_bytes)."""

    model_config = ConfigDict(frozen=True)

    kind: MediaKind
    file: Path
    result: Path
    spec: JobSpec
    height: int
    width: int
    max_image_pixels: int
    max_video_pixels: int
    max_video_seconds: float
    decode_seconds: float
    """CPU time in each of DECODER_THREADS."""
    memory_bytes: int
    owner: str = ""
    """Client or domain that the file comes from: no owner has all decoders."""
    whole_frames: int | None = None
    """Decode at most so many frames of the whole video into pieces; `result` is their index (frame_pieces.py)."""

    def piece(self, number: int) -> Path:
        """The file of a piece of a whole video."""
        return self.result.with_name(f"piece-{number:05d}")

    @property
    def wall_seconds(self) -> float:
        """Wall-clock limit."""
        return self.decode_seconds * WALL_FACTOR


Decode = Callable[[DecodeRequest, Tick], tuple[JobWarning, ...]]
"""Writes `result`; returns the warnings. Raises MediaError, OSError of this machine's disk, or what the tick raises."""


def decode_request(
    kind: MediaKind,
    folder: Path,
    spec: JobSpec,
    size: tuple[int, int],
    settings: Settings,
    owner: str = "",
    *,
    whole: bool = False,
) -> DecodeRequest:
    """`folder` holds the file `input`; `size`: the preset's height and width; `whole`: decode the whole video."""
    return DecodeRequest(
        kind=kind,
        file=folder / "input",
        result=folder / "pixels",
        spec=spec,
        height=size[0],
        width=size[1],
        max_image_pixels=settings.max_image_pixels,
        max_video_pixels=settings.max_video_pixels,
        max_video_seconds=settings.max_video_seconds,
        decode_seconds=settings.media_decode_timeout_seconds,
        memory_bytes=settings.media_decode_memory_bytes,
        owner=owner,
        whole_frames=spec.length if whole else None,
    )


def decode_media(request: DecodeRequest, tick: Tick) -> tuple[JobWarning, ...]:
    """The `Decode` that decodes in this process."""
    if request.whole_frames is not None:
        return _decode_whole(request, request.whole_frames, tick)
    decoded = _decoded(request, tick)
    request.result.write_bytes(InputMedia(image=decoded.image, frames=decoded.frames).to_bytes())
    return decoded.warnings


def _decode_whole(request: DecodeRequest, most_frames: int, tick: Tick) -> tuple[JobWarning, ...]:
    warnings = list[JobWarning]()
    frames = sampled_frames(
        request.file,
        fps=request.spec.fps,
        height=request.height,
        width=request.width,
        most_frames=most_frames,
        limits=_video_limits(request),
        tick=tick,
        warn=warnings.append,
    )
    request.result.write_text(write_pieces(frames, request.piece).model_dump_json())
    return tuple(warnings)


def _video_limits(request: DecodeRequest) -> DecodeLimits:
    return DecodeLimits(request.max_video_pixels, request.max_video_seconds, request.decode_seconds)


def _decoded(request: DecodeRequest, tick: Tick) -> Decoded:
    warnings = list[JobWarning]()
    if request.kind is MediaKind.IMAGE:
        image = decode_image(request.file, request.max_image_pixels, warn=warnings.append)
        return Decoded(image=image, warnings=tuple(warnings))
    frames = last_frames(
        request.file,
        fps=request.spec.fps,
        height=request.height,
        width=request.width,
        limits=_video_limits(request),
        tick=tick,
        warn=warnings.append,
    )
    return Decoded(frames=frames, warnings=tuple(warnings))
