"""The last 16 frames of a video file at a job's rate, by PyAV, measured before anything is decoded.

Two passes. The first reads times and sizes of the packets only: it finds the end, counts, and enforces the limits. The
second decodes from the key frame before the 16 moments wanted, and never holds more than 16 pictures. Knows no network.
"""

from __future__ import annotations

import bisect
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from PIL import Image

from core.service.domain.engine import FrameHWC, FramesTHWC
from core.service.domain.errors import MediaTooLarge, MediaTypeRefused, MediaUnreadable, VideoTooShort
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.media_types import MATROSKA, SNIFFED_BYTES, WEBM, MediaKind, sniff
from core.service.domain.schema import JobWarning
from core.service.media.alpha import AlphaHW, frames_with_alpha, has_alpha_stream
from core.service.media.colour import hdr_curve, rgb_of
from core.service.media.decoded import Tick, ignore_warning
from core.service.media.deinterlace import Neighbours, deinterlaced, with_neighbours
from core.service.media.fit import fit
from core.service.media.orientation import orientation_of
from core.service.media.truncation import missing_end

_CODECS = frozenset(
    {"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "libvpx", "libvpx-vp9", "mpeg4", "mjpeg", "prores"}
)
"""FFmpeg has hundreds of decoders, many of them rarely tried; these are what cameras, browsers and editors write."""
_MOST_STREAMS = 16
_MOST_FRAMES_PER_SECOND = 240
"""Bounds the number of frames, together with the longest duration."""
DECODER_THREADS = 2
_JITTER_FRAMES = 0.1
"""Times are rounded in files (to milliseconds in WebM): so much of a frame may be missing from 16 of them."""
_LEAST_GAP_SECONDS, _GAP_SHARE = 1.0, 0.05
"""How much earlier than its header says a whole file may end."""

_CUT = "cut it: only its end is used"
_PICTURES_OF_SOUND = Disposition.attached_pic | Disposition.timed_thumbnails
"""Covers and chapter pictures: FFmpeg shows them as video streams."""
_ENCRYPTION = ("encryption_info", "encryption_init_info")

Warn = Callable[[JobWarning], None]
"""Takes one warning; called at most once for each code."""


@dataclass(frozen=True)
class VideoLimits:
    """What a video may ask of the machine. `decode_seconds` bounds both passes together: of processor time, in each of
    DECODER_THREADS."""

    max_pixels: int
    max_seconds: float
    decode_seconds: float


@dataclass(frozen=True)
class _Timeline:
    """When a stream shows what, in its own ticks of `tick_seconds`.

    `frames` are all frames in the order of display; `key_frames` (same order) are those that decode without others,
    `seek_points` where to seek in order to get them.
    """

    tick_seconds: Fraction
    frames: Sequence[int]
    key_frames: Sequence[int]
    seek_points: Sequence[int]

    def nearest(self, moment: Fraction) -> int:
        """The frame nearest to `moment`."""
        after = bisect.bisect_left(self.frames, moment)
        return min(self.frames[max(0, after - 1) : after + 1], key=lambda frame: abs(frame - moment))

    def seek_point(self, frame: int) -> int | None:
        """Where to begin decoding in order to see `frame`; None: at the file's beginning."""
        before = bisect.bisect_right(self.key_frames, frame)
        return self.seek_points[before - 1] if before else None


def last_frames(
    path: Path,
    *,
    fps: int | Fraction,
    height: int,
    width: int,
    limits: VideoLimits,
    tick: Tick,
    warn: Warn = ignore_warning,
) -> FramesTHWC:
    """16 frames, uint8 [16, height, width, 3], 1/fps apart, of which the last is the video's last.

    Each is the frame nearest in time; whole (deinterlace.py), in the colours of an ordinary screen and over white
    (colour.py), turned and mirrored as the file says (orientation.py), cropped and resampled (fit.py). `warn` hears of
    what is not shown as it was made: `hdr_tone_mapped`, `deinterlaced`, `rotation_rounded`.
    Raises VideoTooShort, MediaTooLarge, MediaTypeRefused or MediaUnreadable.
    """
    tick = _with_deadline(tick, limits.decode_seconds)
    missing = missing_end(path, tick)
    if missing is not None:
        raise _unreadable(missing)
    with _opened(path, limits) as (container, stream):
        timeline = _read_timeline(container, stream, limits, tick)
    wanted = [timeline.nearest(moment) for moment in _moments(timeline, fps)]
    warn = _once_each(warn)
    for start in dict.fromkeys((timeline.seek_point(wanted[0]), None)):  # a file's index may lead astray
        with _opened(path, limits) as (container, stream):
            decoded = with_neighbours(_decoded_from(container, stream, start, limits))
            found = _pictures(decoded, frozenset(wanted), partial(_fitted, stream, height, width), tick, warn)
        if found.keys() == set(wanted):
            return np.stack([found[pts] for pts in wanted])
    raise _unreadable("some of its last frames cannot be decoded")


def sampled_frames(
    path: Path,
    *,
    fps: int | Fraction,
    height: int,
    width: int,
    most_frames: int,
    limits: VideoLimits,
    tick: Tick,
    warn: Warn = ignore_warning,
) -> Iterator[FrameHWC]:
    """Frames of the whole video, uint8 [height, width, 3], 1/fps apart from its first one on, at most `most_frames`.

    Made as by `last_frames`, one at a time. Raises MediaTooLarge, MediaTypeRefused or MediaUnreadable.
    """
    tick, warn = _with_deadline(tick, limits.decode_seconds), _once_each(warn)
    missing = missing_end(path, tick)
    if missing is not None:
        raise _unreadable(missing)
    with _opened(path, limits) as (container, stream):
        timeline = _read_timeline(container, stream, limits, tick)
    repeats = Counter(timeline.nearest(moment) for moment in _moments_from_start(timeline, fps, most_frames))
    with _opened(path, limits) as (container, stream):
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
    raise _unreadable("some of its frames cannot be decoded")


def _moments_from_start(timeline: _Timeline, fps: int | Fraction, most: int) -> list[Fraction]:
    """Moments in the stream's ticks, 1/fps apart, from the first frame to the last, at most `most`."""
    found = min(int(_seconds(timeline) * fps + _JITTER_FRAMES) + 1, most)
    return [timeline.frames[0] + index / (fps * timeline.tick_seconds) for index in range(found)]


def _pictures(
    decoded: Iterator[Neighbours[_Decoded]],
    wanted: frozenset[int],
    fitted: Callable[[Neighbours[_Decoded]], FrameHWC],
    tick: Tick,
    warn: Warn,
) -> dict[int, FrameHWC]:
    """Those of the wanted frames that come, by their time; decodes no further than the last of them."""
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
    said = set[str]()

    def once(warning: JobWarning) -> None:
        if warning.code not in said:
            said.add(warning.code)
            warn(warning)

    return once


def _with_deadline(tick: Tick, seconds: float) -> Tick:
    """Processor time: a machine that has much else to do makes no video too large."""
    until = time.process_time() + seconds * DECODER_THREADS

    def checked() -> None:
        tick()
        if time.process_time() > until:
            raise MediaTooLarge(
                f"the video takes more than {seconds:g} s to decode", fix="give a shorter or smaller one"
            )

    return checked


@contextmanager
def _opened(path: Path, limits: VideoLimits) -> Generator[tuple[InputContainer, VideoStream]]:
    """The file and its first video stream, ready to be read or decoded; FFmpeg's errors under our names.

    The demuxer is named and may open nothing else: a playlist in disguise could otherwise read the machine's own files.
    """
    decoder_options = _decoder_options(limits)
    try:
        with _open(path, decoder_options) as container:
            stream = _video_stream(container, limits)
            stream.codec_context.options = decoder_options
            stream.codec_context.thread_type = "AUTO"
            stream.codec_context.thread_count = 1 if has_alpha_stream(stream) else DECODER_THREADS
            yield container, stream
    except MemoryError as error:  # FFmpeg's own is both
        raise MediaTooLarge(
            "decoding the video needs more memory than it may take", fix="give a smaller one"
        ) from error
    except FFmpegError as error:
        raise _unreadable(error.strerror or "FFmpeg cannot read it") from error


def _decoder_options(limits: VideoLimits) -> dict[str, str]:
    return {"max_pixels": str(limits.max_pixels)}


def _open(path: Path, decoder_options: dict[str, str]) -> InputContainer:
    options = {"protocol_whitelist": "file", "max_streams": str(_MOST_STREAMS)}
    of_streams: list[Any] = [decoder_options] * _MOST_STREAMS  # Any: PyAV's stub says list[str], its manual dicts
    try:
        return av.open(
            str(path), format=_demuxer(path), options=options, stream_options=of_streams, metadata_errors="ignore"
        )
    except ValueError as error:  # also PyAV's own, for files so damaged that they show no stream
        raise _unreadable("FFmpeg finds no stream in it") from error


def _demuxer(path: Path) -> str:
    with path.open("rb") as file:
        return "matroska" if sniff(file.read(SNIFFED_BYTES)) in {MATROSKA, WEBM} else "mov"


def _video_stream(container: InputContainer, limits: VideoLimits) -> VideoStream:
    stream = _moving_stream(container)
    codec = cast("VideoCodecContext | None", stream.codec_context)  # None: FFmpeg has no decoder for it
    if codec is None or codec.name not in _CODECS:
        name = codec.name if codec else "of this video"
        raise MediaTypeRefused(f"the codec {name} is not taken", fix="encode it as H.264, VP9 or AV1")
    # FFmpeg leaves the size at 0 where it is above its own limit, which is ours.
    if not 0 < codec.width * codec.height <= limits.max_pixels:
        size = f"{codec.width} x {codec.height}" if codec.width else "too many (or an unknown number of)"
        fix = "scale the video down"
        raise MediaTooLarge(f"the video's frames have {size} pixels; {limits.max_pixels} are allowed", fix=fix)
    return stream


def _moving_stream(container: InputContainer) -> VideoStream:
    best = container.streams.best("video")
    streams = [*([best] if isinstance(best, VideoStream) else []), *container.streams.video]
    for stream in streams:
        if not stream.disposition & _PICTURES_OF_SOUND:
            return stream
    what = "sound but no picture" if container.streams.audio else "no video stream"
    raise MediaTypeRefused(f"the video has {what}", fix="give a file with a video in it")


def _read_timeline(container: InputContainer, stream: VideoStream, limits: VideoLimits, tick: Tick) -> _Timeline:
    """The first pass. Reads the packets of all streams, as any may be the one that ends last."""
    frames, key_frames, end_seconds = list[int](), list[tuple[int, int]](), 0.0
    most_frames = limits.max_seconds * _MOST_FRAMES_PER_SECOND
    for packet in container.demux():
        tick()
        if packet.pts is None or packet.is_discard:
            continue
        if packet.is_corrupt:
            raise _unreadable("it is cut off")
        end_seconds = max(end_seconds, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream_index == stream.index:
            _check_readable(packet)
            frames.append(packet.pts)
            if packet.is_keyframe:
                key_frames.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
        if len(frames) > most_frames:
            raise MediaTooLarge(f"the video has more than {most_frames:.0f} frames", fix=_CUT)
    if not frames:
        raise _unreadable("it has no frames")
    _check_end(container, end_seconds)
    ordered = sorted(key_frames)
    timeline = _Timeline(
        Fraction(stream.time_base or 1), sorted(frames), [pts for pts, _ in ordered], [seek for _, seek in ordered]
    )
    if _seconds(timeline) > limits.max_seconds:
        raise MediaTooLarge(
            f"the video has {float(_seconds(timeline)):.1f} s; {limits.max_seconds:g} are allowed", fix=_CUT
        )
    return timeline


def _check_readable(packet: av.Packet[Any]) -> None:
    if any(packet.has_sidedata(name) for name in _ENCRYPTION):
        raise MediaTypeRefused("the video is encrypted (DRM)", fix="give one that plays without a key")


def _seconds(timeline: _Timeline) -> Fraction:
    """From the first frame to the last."""
    return (timeline.frames[-1] - timeline.frames[0]) * timeline.tick_seconds


def _check_end(container: InputContainer, end_seconds: float) -> None:
    """A file that says it is longer than it is has lost its end, which is all that is wanted of it.

    Some containers count their length from zero, some from their first frame: it is enough to have either.
    """
    declared = (min(container.start_time or 0, 0) + (container.duration or 0)) / av.time_base
    if declared - end_seconds > max(_LEAST_GAP_SECONDS, _GAP_SHARE * declared):
        raise _unreadable(f"it is cut off after {end_seconds:.1f} of {declared:.1f} s")


def _moments(timeline: _Timeline, fps: int | Fraction) -> list[Fraction]:
    """16 moments in the stream's ticks, 1/fps apart, ending with the last frame's."""
    found = int(_seconds(timeline) * fps + _JITTER_FRAMES) + 1
    if found < CHUNK_FRAMES:
        rate = f"{float(fps):.6g} frames per second"
        message = f"the video has {found} frames at {rate}; {CHUNK_FRAMES} are needed to go on from"
        seconds = float(CHUNK_FRAMES / fps)
        raise VideoTooShort(message, fix=f"give at least {seconds:.3g} s of video, or ask for a higher fps")
    ticks_between = 1 / (fps * timeline.tick_seconds)
    return [timeline.frames[-1] - (CHUNK_FRAMES - 1 - index) * ticks_between for index in range(CHUNK_FRAMES)]


@dataclass(frozen=True)
class _Decoded:
    frame: av.VideoFrame
    alpha_HW: AlphaHW | None = None


def _decoded_from(
    container: InputContainer, stream: VideoStream, start: int | None, limits: VideoLimits
) -> Iterator[_Decoded]:
    if start is not None:
        container.seek(start, stream=stream)
    if has_alpha_stream(stream):
        for frame, alpha_HW in frames_with_alpha(container.demux(stream), stream, _decoder_options(limits)):
            yield _Decoded(frame, alpha_HW)
    else:
        yield from map(_Decoded, container.decode(stream))


def _fitted(stream: VideoStream, height: int, width: int, around: Neighbours[_Decoded]) -> FrameHWC:
    here = around.here
    _check_whole(here.frame)
    if here.alpha_HW is not None and here.alpha_HW.shape != (here.frame.height, here.frame.width):
        raise _unreadable("its transparency is of another size than its picture")
    if not here.frame.interlaced_frame:
        return fitted_frame(here.frame, stream, height, width, here.alpha_HW)
    beside = [neighbour and neighbour.frame for neighbour in (around.before, around.after)]
    return fitted_frame(deinterlaced(beside[0], here.frame, beside[1]), stream, height, width)


def _warnings_of(frame: av.VideoFrame) -> Iterator[JobWarning]:
    def warning(code: str, message: str) -> JobWarning:
        return JobWarning(code=code, message=message, field=MediaKind.VIDEO)

    if curve := hdr_curve(frame):
        yield warning("hdr_tone_mapped", f"the video is HDR ({curve.value}); its light is mapped to that of SDR")
    if frame.interlaced_frame:
        yield warning("deinterlaced", "the video is interlaced; missing lines are made up")
    if not orientation_of(_display_matrix(frame)).exact:
        yield warning("rotation_rounded", "the video is turned by no quarter of a circle; the nearest is taken")


def fitted_frame(
    frame: av.VideoFrame, stream: VideoStream, height: int, width: int, alpha_HW: AlphaHW | None = None
) -> FrameHWC:
    """The frame as RGB over white, upright, at this size. Raises MediaUnreadable where it is damaged."""
    _check_whole(frame)
    orientation = orientation_of(_display_matrix(frame))
    upright = Image.fromarray(orientation.applied(rgb_of(frame, alpha_HW)))
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    return fit(upright, height, width, 1 / aspect if orientation.transposed else aspect)


def _check_whole(frame: av.VideoFrame) -> None:
    if frame.is_corrupt:
        raise _unreadable("one of its frames is damaged")


def _display_matrix(frame: av.VideoFrame) -> bytes | None:
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else bytes(data)


def _unreadable(what: str) -> MediaUnreadable:
    return MediaUnreadable(
        f"the video cannot be used: {what}", fix="give a whole MP4, WebM, Matroska or QuickTime file"
    )
