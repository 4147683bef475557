"""The second pass over a video: its last 16 frames, or all at a rate: upright, in RGB, at the preset's size."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import repeat
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from PIL import Image

from core.service.domain.engine import FrameHWC, FramesTHWC
from core.service.domain.errors import MediaTooLarge
from core.service.domain.media_types import MediaKind
from core.service.domain.schema import JobWarning
from core.service.media.alpha import AlphaHW, frames_with_alpha, has_alpha_stream
from core.service.media.colour import hdr_curve, rgb_of
from core.service.media.crop import crop_and_resize
from core.service.media.decoded import Tick, Warn, ignore_warning
from core.service.media.deinterlace import Neighbours, deinterlaced, with_neighbours
from core.service.media.orientation import orientation_of
from core.service.media.truncation import missing_end
from core.service.media.video.container import DECODER_THREADS, DecodeLimits, decoder_options_of, opened, unreadable
from core.service.media.video.timeline import moments_from_start, moments_of, read_timeline


def last_frames(
    path: Path,
    *,
    fps: int | Fraction,
    height: int,
    width: int,
    limits: DecodeLimits,
    tick: Tick,
    warn: Warn = ignore_warning,
) -> FramesTHWC:
    """The last 16 frames at `fps`: uint8 RGB [16, height, width, 3], ending with the video's last frame.

    Each is the frame nearest in time, deinterlaced, in BT.709 over white (colour.py), upright (orientation.py), cropped
    and resized (crop.py). `warn` receives `hdr_tone_mapped`, `deinterlaced` and `rotation_rounded`.
    Raises VideoTooShort, MediaTooLarge, MediaTypeRefused or MediaUnreadable.
    """
    tick = _with_deadline(tick, limits.decode_seconds)
    missing = missing_end(path, tick)
    if missing is not None:
        raise unreadable(missing)
    with opened(path, limits) as (container, stream):
        timeline = read_timeline(container, stream, limits, tick)
    wanted = [timeline.nearest(moment) for moment in moments_of(timeline, fps)]
    warn = _once_each(warn)
    for start in dict.fromkeys((timeline.seek_point(wanted[0]), None)):  # the index of the file may be wrong
        with opened(path, limits) as (container, stream):
            decoded = with_neighbours(_decoded_from(container, stream, start, limits))
            found = _pictures(decoded, frozenset(wanted), partial(_fitted, stream, height, width), tick, warn)
        if found.keys() == set(wanted):
            return np.stack([found[pts] for pts in wanted])
    raise unreadable("some of its last frames cannot be decoded")


def sampled_frames(
    path: Path,
    *,
    fps: int | Fraction,
    height: int,
    width: int,
    most_frames: int,
    limits: DecodeLimits,
    tick: Tick,
    warn: Warn = ignore_warning,
) -> Iterator[FrameHWC]:
    """Frames of the whole video, uint8 [height, width, 3], 1/fps apart from its first one on, at most `most_frames`.

    Made as by `last_frames`, one at a time. Raises MediaTooLarge, MediaTypeRefused or MediaUnreadable.
    """
    tick, warn = _with_deadline(tick, limits.decode_seconds), _once_each(warn)
    missing = missing_end(path, tick)
    if missing is not None:
        raise unreadable(missing)
    with opened(path, limits) as (container, stream):
        timeline = read_timeline(container, stream, limits, tick)
    repeats = Counter(timeline.nearest(moment) for moment in moments_from_start(timeline, fps, most_frames))
    with opened(path, limits) as (container, stream):
        for around in with_neighbours(_decoded_from(container, stream, None, limits)):
            tick()
            frame = around.here.frame
            if frame.pts is None or frame.pts != next(iter(repeats)):  # in order of time
                continue
            picture = _fitted(stream, height, width, around)
            for warning in _warnings_of(frame):
                warn(warning)
            yield from repeat(picture, repeats.pop(frame.pts))
            if not repeats:
                return
    raise unreadable("some of its frames cannot be decoded")


def _pictures(
    decoded: Iterator[Neighbours[_Decoded]],
    wanted: frozenset[int],
    fitted: Callable[[Neighbours[_Decoded]], FrameHWC],
    tick: Tick,
    warn: Warn,
) -> dict[int, FrameHWC]:
    """The wanted frames that were found, by presentation time; stops after the last of them."""
    found = dict[int, FrameHWC]()
    for around in decoded:
        tick()
        frame = around.here.frame
        if frame.pts in wanted:
            found[frame.pts] = fitted(around)
            for warning in _warnings_of(frame):
                warn(warning)
        if found.keys() == wanted:
            break
    return found


def _once_each(warn: Warn) -> Warn:
    seen = set[str]()

    def once(warning: JobWarning) -> None:
        if warning.code not in seen:
            seen.add(warning.code)
            warn(warning)

    return once


def _with_deadline(tick: Tick, seconds: float) -> Tick:
    """`tick` with a limit of CPU time, so that a busy machine does not refuse videos."""
    until = time.process_time() + seconds * DECODER_THREADS

    def checked() -> None:
        tick()
        if time.process_time() > until:
            raise MediaTooLarge(
                f"the video takes more than {seconds:g} s to decode", fix="give a shorter or smaller one"
            )

    return checked


@dataclass(frozen=True)
class _Decoded:
    frame: av.VideoFrame
    alpha_HW: AlphaHW | None = None


def _decoded_from(
    container: InputContainer, stream: VideoStream, start: int | None, limits: DecodeLimits
) -> Iterator[_Decoded]:
    if start is not None:
        container.seek(start, stream=stream)
    if has_alpha_stream(stream):
        for frame, alpha_HW in frames_with_alpha(container.demux(stream), stream, decoder_options_of(limits)):
            yield _Decoded(frame, alpha_HW)
    else:
        yield from map(_Decoded, container.decode(stream))


def _fitted(stream: VideoStream, height: int, width: int, around: Neighbours[_Decoded]) -> FrameHWC:
    here = around.here
    _check_intact(here.frame)
    if here.alpha_HW is not None and here.alpha_HW.shape != (here.frame.height, here.frame.width):
        raise unreadable("its transparency is of another size than its picture")
    if not here.frame.interlaced_frame:
        return fitted_frame(here.frame, stream, height, width, here.alpha_HW)
    beside = [neighbour and neighbour.frame for neighbour in (around.before, around.after)]
    return fitted_frame(deinterlaced(beside[0], here.frame, beside[1]), stream, height, width)


def _warnings_of(frame: av.VideoFrame) -> Iterator[JobWarning]:
    def warning(code: str, message: str) -> JobWarning:
        return JobWarning(code=code, message=message, field=MediaKind.VIDEO)

    if curve := hdr_curve(frame):
        yield warning("hdr_tone_mapped", f"the video is HDR ({curve.value}) and is tone-mapped to SDR")
    if frame.interlaced_frame:
        yield warning("deinterlaced", "the video is interlaced and is deinterlaced")
    if not orientation_of(_display_matrix(frame)).exact:
        yield warning("rotation_rounded", "the video's rotation is not a multiple of 90 degrees; the nearest is used")


def fitted_frame(
    frame: av.VideoFrame, stream: VideoStream, height: int, width: int, alpha_HW: AlphaHW | None = None
) -> FrameHWC:
    """The frame upright, in RGB over white: uint8 [height, width, 3]. Raises MediaUnreadable if it is damaged."""
    _check_intact(frame)
    orientation = orientation_of(_display_matrix(frame))
    upright = Image.fromarray(orientation.applied(rgb_of(frame, alpha_HW)))
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    return crop_and_resize(upright, height, width, 1 / aspect if orientation.transposed else aspect)


def _check_intact(frame: av.VideoFrame) -> None:
    if frame.is_corrupt:
        raise unreadable("one of its frames is damaged")


def _display_matrix(frame: av.VideoFrame) -> bytes | None:
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else bytes(data)
