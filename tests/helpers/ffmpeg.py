"""FFmpeg's own programs: they make clips as cameras and browsers do, and decode them for comparison. Knows no service.

Debian's FFmpeg is another build and another version than the one inside PyAV: what both show alike is no accident.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.service.domain.engine import FrameHWC, FramesTHWC
from core.service.media.crop import crop_and_resize
from tests.helpers.apt import program

NUM_MOMENTS = 16


def ffmpeg(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """What FFmpeg wrote; fails the test with its own words where it fails."""
    command = [str(program("ffmpeg", ["ffmpeg"])), "-hide_banner", "-y"]
    done = subprocess.run([*command, *arguments], input=stdin, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return done


def frame_with_number(number: int, height: int = 48, width: int = 64) -> FrameHWC:
    """A picture that differs from its mirror images, its turns and its neighbours in time."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[..., 0] = np.linspace(40, 220, width)
    frame[..., 1] = np.linspace(200, 60, height)[:, None]
    frame[..., 2] = 16 + 28 * (number % 8)
    return frame


def made(path: Path, *options: str, rate: str = "8", num_frames: int = 24, alpha: bool = False) -> Path:
    """A clip of telling frames at `path`, encoded with `options`. With `alpha`, opacity grows from left to right."""
    frames = np.stack([frame_with_number(number) for number in range(num_frames)])
    if alpha:
        opacity = np.broadcast_to(np.linspace(0, 255, frames.shape[2]).astype(np.uint8), frames.shape[:3])
        frames = np.concatenate([frames, opacity[..., None]], axis=-1)
    given = ("-f", "rawvideo", "-pix_fmt", "rgba" if alpha else "rgb24", "-s", "64x48", "-r", rate, "-i", "-")
    ffmpeg(*given, *options, "-threads", "1", str(path), stdin=frames.tobytes())
    return path


def decoded(
    path: Path, filters: str = "null", pixel_format: str = "rgb24", *, decoder: Sequence[str] = ()
) -> tuple[list[float], NDArray[np.generic]]:
    """Times in seconds and pictures [T, height, width, channels] of all frames, upright as FFmpeg turns them.

    `pixel_format`: rgb24, rgba, gbrp16le or gbrpf32le; the planes of the last two are put in the order of RGB.
    """
    output = ("-vsync", "passthrough", "-an", "-pix_fmt", pixel_format, "-f", "rawvideo", "-")
    done = ffmpeg(*decoder, "-threads", "1", "-i", str(path), "-vf", f"{filters},showinfo", *output)
    told = done.stderr.decode(errors="replace")
    times = [float(time) for time in re.findall(r" pts_time:\s*(-?[\d.]+)", told)]
    size = re.search(r" s:(\d+)x(\d+) ", told)
    assert size is not None, told[-2000:]
    width, height = int(size[1]), int(size[2])
    if not pixel_format.startswith("gbrp"):
        return times, np.frombuffer(done.stdout, np.uint8).reshape(len(times), height, width, -1)
    kind = np.dtype("<f4" if "f32" in pixel_format else "<u2")
    planes = np.frombuffer(done.stdout, kind).reshape(len(times), 3, height, width)
    return times, np.moveaxis(planes[:, [2, 0, 1]], 1, -1)


def last_of(times: Sequence[float], fps: float | Fraction) -> list[int]:
    """The frames nearest to 16 moments 1/fps apart, of which the last is the last frame's."""
    moments = [times[-1] - index / float(fps) for index in reversed(range(NUM_MOMENTS))]
    return [min(range(len(times)), key=lambda index: abs(times[index] - moment)) for moment in moments]


def fitted(frames: NDArray[np.generic], height: int, width: int) -> FramesTHWC:
    """FFmpeg's frames (8-bit RGB) at a preset's size."""
    return np.stack([crop_and_resize(Image.fromarray(frame.astype(np.uint8)), height, width) for frame in frames])
