"""Decodes what strangers have made, each file in a process of its own with limits of time, memory and files.

A file that crashes FFmpeg, hangs it or wants too much memory costs only the job that named it. The process is given no
keys: of the environment it has but a few names. Knows no job, no store and no network.
"""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from core.processes import end_with_parent
from core.service.domain import errors
from core.service.domain.engine import InputMedia
from core.service.domain.errors import MediaError, MediaTooLarge, MediaUnreadable
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.media_types import MediaKind
from core.service.domain.schema import JobSpec, JobWarning
from core.service.media.decoded import Decoded, Tick
from core.service.media.image import decode_image
from core.service.media.video import DECODER_THREADS, DecodeLimits, last_frames, sampled_frames
from core.service.settings import Settings
from worker.media.frame_pieces import write_pieces

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "worker.media.decode_process")
CHECK_SECONDS = 0.2
START_SECONDS = 15.0
"""How long a process may take to begin; not counted as decoding."""
WALL_FACTOR = 4.0
"""A decoder may take so many times its `decode_seconds` by the clock: others want the processors, too. Only processor
time tells that a file is too much."""
BEGUN = "begun"
_ALLOWED_NAMES = frozenset({"PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "HOME", "VIRTUAL_ENV"})
_ALLOWED_PREFIXES = ("PYTHON", "LC_")
"""What of its environment the process is given."""
_BYTES_BESIDE_PIXELS = 1_000_000
_RGB = 3
LAST_WORDS = 500
_MEDIA_ERRORS: Mapping[str, type[MediaError]] = {
    error.code: error
    for error in (
        errors.MediaTooLarge,
        errors.MediaTypeRefused,
        errors.MediaUnreadable,
        errors.VideoTooShort,
    )
}


class DecodeOrder(BaseModel):
    """What to decode, within which limits, and where the exact pixels go (InputMedia.to_bytes)."""

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
    """Of processor time, in each of DECODER_THREADS."""
    memory_bytes: int
    owner: str = ""
    """Whose file it is: no owner takes all the places."""
    whole_frames: int | None = None
    """Decode the whole video, at most so many frames, into pieces; `result` is their index (frame_pieces.py)."""

    def piece(self, number: int) -> Path:
        """The file of a piece of a whole video."""
        return self.result.with_name(f"piece-{number:05d}")

    @property
    def pixel_bytes(self) -> int:
        """Most bytes of the frames of a whole video."""
        return (self.whole_frames or 0) * self.height * self.width * _RGB

    @property
    def wall_seconds(self) -> float:
        """How long it may take by the clock."""
        return self.decode_seconds * WALL_FACTOR


Decode = Callable[[DecodeOrder, Tick], tuple[JobWarning, ...]]
"""Writes `result`; the warnings. Raises MediaError, OSError of this machine's disk, or what the tick raises."""


def decode_order(
    kind: MediaKind,
    folder: Path,
    spec: JobSpec,
    size: tuple[int, int],
    settings: Settings,
    owner: str = "",
    *,
    whole: bool = False,
) -> DecodeOrder:
    """`folder` holds the file `given`; `size` is the preset's height and width. `whole`: all of a video."""
    return DecodeOrder(
        kind=kind,
        file=folder / "given",
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
        whole_frames=spec.num_frames if whole else None,
    )


def decode_here(order: DecodeOrder, tick: Tick) -> tuple[JobWarning, ...]:
    """In this process."""
    if order.whole_frames is not None:
        return _decode_whole(order, order.whole_frames, tick)
    decoded = _decoded(order, tick)
    order.result.write_bytes(InputMedia(image=decoded.image, frames=decoded.frames).to_bytes())
    return decoded.warnings


def _decode_whole(order: DecodeOrder, most_frames: int, tick: Tick) -> tuple[JobWarning, ...]:
    warnings = list[JobWarning]()
    frames = sampled_frames(
        order.file,
        fps=order.spec.fps,
        height=order.height,
        width=order.width,
        most_frames=most_frames,
        limits=_video_limits(order),
        tick=tick,
        warn=warnings.append,
    )
    order.result.write_text(write_pieces(frames, order.piece).model_dump_json())
    return tuple(warnings)


def _video_limits(order: DecodeOrder) -> DecodeLimits:
    return DecodeLimits(order.max_video_pixels, order.max_video_seconds, order.decode_seconds)


def _decoded(order: DecodeOrder, tick: Tick) -> Decoded:
    warnings = list[JobWarning]()
    if order.kind is MediaKind.IMAGE:
        image = decode_image(order.file, order.max_image_pixels, warn=warnings.append)
        return Decoded(image=image, warnings=tuple(warnings))
    frames = last_frames(
        order.file,
        fps=order.spec.fps,
        height=order.height,
        width=order.width,
        limits=_video_limits(order),
        tick=tick,
        warn=warnings.append,
    )
    return Decoded(frames=frames, warnings=tuple(warnings))


class DecodingStalled(Exception):
    """A decoder stood still, or the machine had no time for it: another try may go well."""


class _Places:
    """So many files are decoded at a time, and of one owner at least one fewer, where there is more than one place."""

    def __init__(self, at_a_time: int) -> None:
        self._free = at_a_time
        self._per_owner = max(1, at_a_time - 1)
        self._taken = Counter[str]()
        self._changed = threading.Condition()

    @contextmanager
    def one_for(self, owner: str, tick: Tick) -> Generator[None]:
        while not self._take(owner):
            tick()
        try:
            yield
        finally:
            self._give_back(owner)

    def _take(self, owner: str) -> bool:
        """False where there was none for a moment."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_one_for(owner), CHECK_SECONDS):
                return False
            self._free -= 1
            self._taken[owner] += 1
            return True

    def _has_one_for(self, owner: str) -> bool:
        return self._free > 0 and self._taken[owner] < self._per_owner

    def _give_back(self, owner: str) -> None:
        with self._changed:
            self._free += 1
            self._taken[owner] -= 1
            self._taken += Counter()  # forgets those who have none
            self._changed.notify_all()


class DecodingProcesses:
    """A `Decode` with a process for each file, `at_a_time` of them."""

    def __init__(self, at_a_time: int, command: Sequence[str] = COMMAND, start_seconds: float = START_SECONDS) -> None:
        self._places = _Places(at_a_time)
        self._command = command
        self._start_seconds = start_seconds

    def __call__(self, order: DecodeOrder, tick: Tick) -> tuple[JobWarning, ...]:
        with self._places.one_for(order.owner, tick), _running(self._command, order) as process:
            answer = self._await(process, order, tick)
        if answer is None:
            raise MediaUnreadable(f"the {order.kind} ends the program that decodes it", fix="encode it anew")
        return _warnings_of(answer, order.kind)

    def _await(self, process: subprocess.Popen[bytes], order: DecodeOrder, tick: Tick) -> Mapping[str, Any] | None:
        """What it says at its end; None where it has ended without a word. Raises where it does not end."""
        until = time.monotonic() + self._start_seconds + order.wall_seconds
        while process.poll() is None:
            if time.monotonic() > until:
                raise DecodingStalled(f"decoding the {order.kind} did not end within {order.wall_seconds:g} s")
            with suppress(subprocess.TimeoutExpired):
                process.wait(CHECK_SECONDS)
            tick()
        return _answer(process, order)


@contextmanager
def _running(command: Sequence[str], order: DecodeOrder) -> Generator[subprocess.Popen[bytes]]:
    """The process, which is gone at the end, whatever happens."""
    with (
        (order.file.parent / "answer").open("wb") as answer,
        (order.file.parent / "words").open("wb") as words,
        subprocess.Popen(  # noqa: S603 - ours
            command, stdin=subprocess.PIPE, stdout=answer, stderr=words, env=_allowed(os.environ)
        ) as process,
    ):
        try:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.write(order.model_dump_json().encode())
                process.stdin.close()
            yield process
        finally:
            process.kill()


def _answer(process: subprocess.Popen[bytes], order: DecodeOrder) -> Mapping[str, Any] | None:
    said = (order.file.parent / "answer").read_text().splitlines()
    if process.returncode == 0:
        return json.loads(said[-1])
    if process.returncode == -signal.SIGXCPU:
        message = f"the {order.kind} takes more than {order.decode_seconds:g} s to decode"
        raise MediaTooLarge(message, fix="give a shorter or smaller one")
    words = (order.file.parent / "words").read_bytes()[-LAST_WORDS:].decode(errors="replace")
    logger.error("decoding has ended with %s: %s", process.returncode, words.strip())
    if said != [BEGUN]:
        raise RuntimeError("the program that decodes cannot start")
    return None


def _warnings_of(answer: Mapping[str, Any], kind: MediaKind) -> tuple[JobWarning, ...]:
    """Raises what the process has raised."""
    if "errno" in answer:
        raise OSError(answer["errno"], os.strerror(answer["errno"]))
    if "memory" in answer:
        raise MediaTooLarge(f"the {kind} needs more memory than decoding may take", fix="give a smaller one")
    if "code" in answer:
        raise _MEDIA_ERRORS.get(answer["code"], MediaUnreadable)(answer["message"], fix=answer["fix"])
    return tuple(JobWarning.model_validate(warning) for warning in answer["warnings"])


def _allowed(environment: Mapping[str, str]) -> dict[str, str]:
    """No other names: whatever keys a deployment has there are not among them."""
    return {
        name: text for name, text in environment.items() if name in _ALLOWED_NAMES or name.startswith(_ALLOWED_PREFIXES)
    }


# --- within the process -----------------------------------------------------------------------------------------------


def main() -> int:
    """`python -m worker.media.decode_process`: an order on stdin, the outcome as a line of JSON on stdout."""
    if sys.platform == "linux":  # elsewhere its alarm ends what a killed worker has left
        end_with_parent(by=signal.SIGKILL)
    order = DecodeOrder.model_validate_json(sys.stdin.buffer.read())
    # Whoever hangs within FFmpeg hears nothing; this signal ends the process all the same.
    signal.alarm(math.ceil(START_SECONDS + order.wall_seconds))
    _limit(order)
    _say(BEGUN)
    _say(json.dumps(_outcome(order)))
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _outcome(order: DecodeOrder) -> dict[str, Any]:
    try:
        warnings = decode_here(order, lambda: None)
    except MediaError as error:
        return {"code": error.code, "message": error.message, "fix": error.fix}
    except MemoryError:
        return {"memory": True}
    except OSError as error:
        return {"errno": error.errno or 0}
    return {"warnings": [warning.model_dump(mode="json") for warning in warnings]}


def _limit(order: DecodeOrder) -> None:
    """Processor time, a little beyond what is told politely; files, of which its last words are one; and memory."""
    cpu_seconds = math.ceil(time.process_time() + order.decode_seconds * DECODER_THREADS) + 1
    pixels = max(order.max_image_pixels, CHUNK_FRAMES * order.height * order.width)
    file_bytes = _RGB * pixels + _BYTES_BESIDE_PIXELS
    _set_limit(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1)  # equal ones would kill without SIGXCPU
    _set_limit(resource.RLIMIT_FSIZE, file_bytes)
    _set_limit(resource.RLIMIT_CORE, 0)
    _limit_memory(order.memory_bytes)


def _set_limit(which: int, most: int, hard: int | None = None) -> None:
    """For good. Where the system has none, or a lower one, it goes on with that."""
    with suppress(ValueError, OSError):
        resource.setrlimit(which, (most, most if hard is None else hard))


def _limit_memory(more_bytes: int) -> None:
    """So much more than the program itself has. Not every system can."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return
    _set_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + more_bytes)


if __name__ == "__main__":
    sys.exit(main())
