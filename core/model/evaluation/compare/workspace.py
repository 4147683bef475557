"""The files of a comparison: first chunks, videos with the facts that they were made by, and their figures."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from core.folder_lock import alone_in
from core.metrics.evaluation.pictures import Pictures, PictureTaker
from core.model.evaluation.compare.exact_frames import read_exact, write_exact, write_playable
from core.model.evaluation.compare.plan import VERSION, ComparisonError, Expected, Video, digest, read_json, write_json
from core.model.evaluation.compare.prefixes import Measured
from core.service.domain.engine import FrameHWC, FramesTHWC
from core.whole_files import UNFINISHED_SUFFIX, remove_abandoned

_HALF = re.compile(r"\d+\.\d+\.(mkv|mp4)")
"""Name of a video that is being made: index, process, kind."""
_SHEET, _SLICE = ".sheet.jpg", ".slice.jpg"
_MEASURED = TypeAdapter(Measured)


@dataclass(frozen=True)
class Finished:
    """A video that is made and measured."""

    measured: Measured
    fingerprint: str
    """Of its method."""
    seconds: float
    """How long its method needed for it, without storing it, and without a first chunk that it was given."""
    threads: int
    """CPU threads of its method."""
    by: Mapping[str, str]
    """Of the measurement."""


@dataclass(frozen=True)
class Workspace:
    """An output folder. Whatever is complete has its JSON file, which is written last."""

    folder: Path

    def stem(self, video: Video) -> Path:
        """The path of a video's files without suffix: .mp4 (for people), .mkv (exact), .json and so on."""
        return self.folder / "videos" / video.method / f"{video.index:03d}"

    @property
    def running(self) -> Path:
        """Folder of what says which videos are in work."""
        return self.folder / "running"

    @contextmanager
    def alone(self) -> Generator[None]:
        """Within the block no other run uses the folder; begins without what a killed run left half done.

        Raises ComparisonError if another run does.
        """
        with alone_in(self.folder) as is_alone:
            if not is_alone:
                fix = "wait for it, or name another folder with --out"
                raise ComparisonError(f"another comparison is at work in {self.folder}", fix=fix)
            self._sweep()
            yield

    def requests(self) -> list[Mapping[str, Any]]:
        """What each complete video was made of, of this version: `index`, `prompt`, `seed`, `frames` and so on."""
        stored = (read_json(file) for file in sorted(self.folder.glob("videos/*/*.made.json")))
        found = [content["facts"] for content in stored if content is not None and "facts" in content]
        return [facts for facts in found if facts.get("version") == VERSION]

    def _sweep(self) -> None:
        shutil.rmtree(self.running, ignore_errors=True)
        videos = (file for file in self.folder.glob("videos/*/*") if _HALF.fullmatch(file.name))
        for file in [*videos, *self.folder.glob(f"*/**/*.json.*{UNFINISHED_SUFFIX}")]:
            file.unlink()
        remove_abandoned(self.folder)  # those of a report: another process may be writing one, without the lock

    def has_first_chunk(self, video: Video, facts: Mapping[str, Any]) -> bool:
        """Whether the first chunk of the prompt is stored and was made by these facts."""
        stored = read_json(self._first_chunk_stem(video).with_suffix(".json"))
        return stored is not None and stored.get("facts") == {"version": VERSION, **facts}

    def first_chunk(self, video: Video) -> FramesTHWC | None:
        """The stored first chunk of a prompt; None if there is none."""
        if self.first_chunk_digest(video) is None:
            return None
        frames: FramesTHWC = np.load(self._first_chunk_stem(video).with_suffix(".npz"))["frames"]
        return frames

    def first_chunk_digest(self, video: Video) -> str | None:
        """Names the bytes of the stored first chunk of a prompt; None if there is none."""
        stored = read_json(self._first_chunk_stem(video).with_suffix(".json"))
        return None if stored is None else stored.get("digest")

    def store_first_chunk(self, video: Video, facts: Mapping[str, Any], frames: FramesTHWC) -> None:
        """Keep the first chunk of a prompt for all methods."""
        stem = self._first_chunk_stem(video)
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".json").unlink(missing_ok=True)
        np.savez_compressed(stem.with_suffix(".npz"), frames=frames)
        content = {"facts": {"version": VERSION, **facts}, "digest": frames_digest(frames)}
        write_json(stem.with_suffix(".json"), content)

    def fail_first_chunk(self, video: Video, error: str) -> None:
        """The prompt has no first chunk, nor an old one any more, and why."""
        write_json(self._first_chunk_stem(video).with_suffix(".json"), {"error": error})

    def first_chunk_error(self, video: Video) -> str:
        """Why a prompt has no first chunk."""
        stored = read_json(self._first_chunk_stem(video).with_suffix(".json"))
        return str((stored or {}).get("error", "it was not made"))

    def _first_chunk_stem(self, video: Video) -> Path:
        return self.folder / "first-chunks" / f"{video.index:03d}"

    def is_made(self, video: Video, facts: Mapping[str, Any]) -> bool:
        """Whether the video is stored and was made by these facts."""
        stored = read_json(self._made_file(video))
        is_of_these = stored is not None and stored.get("facts") == {"version": VERSION, **facts}
        return is_of_these and self._exact(video).is_file() and self._is_shown(video)

    def _is_shown(self, video: Video) -> bool:
        """Whether what the page shows of the video is there."""
        return all(file.is_file() for file in (self.playable(video), *self.picture_files(video)))

    def _exact(self, video: Video) -> Path:
        return self.stem(video).with_suffix(".mkv")

    def make(self, video: Video, parts: Iterable[FramesTHWC], fps: int | Fraction) -> int:
        """Store a video while it is made; returns its number of frames. `store_made` says that it is complete."""
        stem = self.stem(video)
        stem.parent.mkdir(parents=True, exist_ok=True)
        for file in (self._made_file(video), self._measured_file(video)):
            file.unlink(missing_ok=True)
        unfinished = [stem.with_suffix(f".{os.getpid()}{suffix}") for suffix in (".mkv", ".mp4")]
        taker = PictureTaker(video.frames)
        try:
            done = write_playable(_watched(write_exact(parts, fps, unfinished[0]), taker), fps, unfinished[1])
            for file in unfinished:
                file.replace(stem.with_suffix(file.suffix))
        finally:
            for file in unfinished:
                file.unlink(missing_ok=True)
        pictures = taker.pictures()
        stem.with_suffix(_SHEET).write_bytes(pictures.sheet)
        stem.with_suffix(_SLICE).write_bytes(pictures.slice)
        return done

    def store_made(self, video: Video, facts: Mapping[str, Any], seconds: float, threads: int) -> None:
        """The video is complete: what it was made by, how long that took, and with how many CPU threads."""
        content = {"facts": {"version": VERSION, **facts}, "seconds": seconds, "threads": threads}
        write_json(self._made_file(video), content)

    def playable(self, video: Video) -> Path:
        """The stored video as an MP4 for people."""
        return self.stem(video).with_suffix(".mp4")

    def frames(self, video: Video) -> Iterator[FrameHWC]:
        """The exact frames of a stored video. Raises VideoUnreadable."""
        return read_exact(self._exact(video))

    def is_measured(self, video: Video, by: Mapping[str, str], borders: str) -> bool:
        """Whether the stored video has figures by this measurement, with the seams at these borders."""
        measured = self._measured(video)
        return measured is not None and (measured["by"], measured["borders"]) == (dict(by), borders)

    def picture_files(self, video: Video) -> tuple[Path, Path]:
        """The contact sheet and the x-t slice of a stored video."""
        stem = self.stem(video)
        return stem.with_suffix(_SHEET), stem.with_suffix(_SLICE)

    def pictures(self, video: Video) -> Pictures:
        """The content of `picture_files`."""
        return Pictures(*(file.read_bytes() for file in self.picture_files(video)))

    def store_measured(self, video: Video, by: Mapping[str, str], borders: str, measured: Measured) -> None:
        """Keep a video's figures. `by`: what they depend on beside video, prompt and borders."""
        how = {"by": dict(by), "borders": borders}
        content = {"version": VERSION, "of": self._made_digest(video), **how, "measured": asdict(measured)}
        write_json(self._measured_file(video), content)

    def finished(self, video: Video, expected: Expected) -> Finished | None:
        """A video of this request with its figures; None if it is not made and measured as expected, or has another
        first chunk than the others."""
        made, measured = read_json(self._made_file(video)), self._measured(video)
        if made is None or measured is None or not self._is_shown(video):
            return None
        facts = made["facts"]
        wanted = {**asdict(video), "version": VERSION, "fingerprint": expected.fingerprint}
        if any(facts.get(name) != value for name, value in wanted.items()) or measured["borders"] != expected.borders:
            return None
        if facts["first_chunk"] not in (None, self.first_chunk_digest(video)):
            return None
        try:
            figures = _MEASURED.validate_python(measured["measured"])
        except ValidationError:
            return None  # measured by another version
        return Finished(figures, facts["fingerprint"], made["seconds"], made["threads"], measured["by"])

    def _measured(self, video: Video) -> dict[str, Any] | None:
        """The stored figures, if they are of the stored video."""
        measured = read_json(self._measured_file(video))
        if measured is None or measured.get("version") != VERSION or measured.get("of") != self._made_digest(video):
            return None
        return measured

    def _made_digest(self, video: Video) -> str | None:
        """Names the stored video; None if it is not complete."""
        file = self._made_file(video)
        return digest(file.read_bytes()) if file.is_file() else None

    def store_failure(self, video: Video, error: str) -> None:
        """Why a video could not be made or measured."""
        write_json(self._failure_file(video), {"error": error, "request": asdict(video)})

    def forget_failure(self, video: Video) -> None:
        """The video is finished: earlier failures are past."""
        self._failure_file(video).unlink(missing_ok=True)

    def failure(self, video: Video) -> str | None:
        """Why the last attempt to make or measure the video failed; None if it did not, or was for another request."""
        stored = read_json(self._failure_file(video))
        return str(stored["error"]) if stored is not None and stored.get("request") == asdict(video) else None

    def _made_file(self, video: Video) -> Path:
        return self.stem(video).with_suffix(".made.json")

    def _measured_file(self, video: Video) -> Path:
        return self.stem(video).with_suffix(".figures.json")

    def _failure_file(self, video: Video) -> Path:
        return self.stem(video).with_suffix(".failure.json")


def facts_of(video: Video, fingerprint: str, first_chunk: FramesTHWC | None) -> dict[str, Any]:
    """What a video depends on. `first_chunk`: what the method is given; None if it makes its own."""
    given = None if first_chunk is None else frames_digest(first_chunk)
    return {**asdict(video), "fingerprint": fingerprint, "first_chunk": given}


def frames_digest(frames: FramesTHWC) -> str:
    """Names the pixels of frames."""
    return digest(np.ascontiguousarray(frames).tobytes())


def _watched(parts: Iterable[FramesTHWC], taker: PictureTaker) -> Iterator[FramesTHWC]:
    """Pass parts of a video through, and let its pictures be taken."""
    for part_THWC in parts:
        for frame_HWC in part_THWC:
            taker.add(frame_HWC)
        yield part_THWC
