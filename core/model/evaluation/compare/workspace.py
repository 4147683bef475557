"""The files of a comparison: first chunks, videos with the facts that they were made by, and their figures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from core.metrics.video.metric import VideoMetrics
from core.model.evaluation.compare.exact_frames import read_exact, write_exact, write_playable
from core.model.evaluation.compare.pictures import Pictures
from core.model.evaluation.compare.plan import VERSION, Video, digest, read_json, write_json
from core.service.domain.engine import FrameHWC, FramesTHWC

_METRICS = TypeAdapter(VideoMetrics)


@dataclass(frozen=True)
class Finished:
    """A video that is made and measured."""

    metrics: VideoMetrics
    fingerprint: str
    first_chunk: str | None
    """Names the bytes of the first chunk that it was given; None if it makes its own."""
    seconds: float
    """How long it took to make."""
    measured_by: Mapping[str, Any]


@dataclass(frozen=True)
class Workspace:
    """An output folder. Whatever is complete has its JSON file, which is written last."""

    folder: Path

    def stem(self, video: Video) -> Path:
        """The path of a video's files without suffix: .mp4 (for people), .mkv (exact), .json and so on."""
        return self.folder / "videos" / video.method / f"{video.index:03d}"

    def first_chunk(self, video: Video, facts: Mapping[str, Any]) -> FramesTHWC | None:
        """The stored first chunk of a prompt; None if it was made by other facts, or not at all."""
        stem = self._first_chunk_stem(video)
        if read_json(stem.with_suffix(".json")) != {"version": VERSION, **facts}:
            return None
        frames: FramesTHWC = np.load(stem.with_suffix(".npz"))["frames"]
        return frames

    def store_first_chunk(self, video: Video, facts: Mapping[str, Any], frames: FramesTHWC) -> None:
        """Keep the first chunk of a prompt for all methods."""
        stem = self._first_chunk_stem(video)
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".json").unlink(missing_ok=True)
        np.savez_compressed(stem.with_suffix(".npz"), frames=frames)
        write_json(stem.with_suffix(".json"), {"version": VERSION, **facts})

    def _first_chunk_stem(self, video: Video) -> Path:
        return self.folder / "first-chunks" / f"{video.index:03d}"

    def is_made(self, video: Video, facts: Mapping[str, Any]) -> bool:
        """Whether the video is stored and was made by these facts."""
        stored = read_json(self._made_file(video))
        return stored is not None and stored.get("facts") == {"version": VERSION, **facts}

    def make(self, video: Video, parts: Iterable[FramesTHWC], fps: float) -> int:
        """Store a video while it is made; returns its number of frames. `store_made` says that it is complete."""
        stem = self.stem(video)
        stem.parent.mkdir(parents=True, exist_ok=True)
        for file in (self._made_file(video), self._measured_file(video)):
            file.unlink(missing_ok=True)
        rate = Fraction(fps).limit_denominator(1001)
        unfinished = [stem.with_suffix(f".{os.getpid()}{suffix}") for suffix in (".mkv", ".mp4")]
        pictures = Pictures(video.frames)
        try:
            done = write_playable(pictures.watch(write_exact(parts, rate, unfinished[0])), rate, unfinished[1])
            for file in unfinished:
                file.replace(stem.with_suffix(file.suffix))
        finally:
            for file in unfinished:
                file.unlink(missing_ok=True)
        pictures.write(stem)
        return done

    def store_made(self, video: Video, facts: Mapping[str, Any], seconds: float) -> None:
        """The video is complete: what it was made by, and how long that took."""
        write_json(self._made_file(video), {"facts": {"version": VERSION, **facts}, "seconds": seconds})

    def frames(self, video: Video) -> Iterator[FrameHWC]:
        """The exact frames of a stored video. Raises VideoUnreadable."""
        return read_exact(self.stem(video).with_suffix(".mkv"))

    def store_measured(self, video: Video, by: Mapping[str, Any], metrics: VideoMetrics) -> None:
        """Keep a video's figures. Its failures before this are past."""
        made = self._made_file(video).read_bytes()
        content = {"version": VERSION, "by": dict(by), "of": digest(made), "metrics": asdict(metrics)}
        write_json(self._measured_file(video), content)
        self._failure_file(video).unlink(missing_ok=True)

    def finished(self, video: Video) -> Finished | None:
        """A video of this request with its figures; None if it is not made and measured."""
        made, measured = read_json(self._made_file(video)), read_json(self._measured_file(video))
        if made is None or measured is None or measured.get("version") != VERSION:
            return None
        facts = made["facts"]
        if measured["of"] != digest(self._made_file(video).read_bytes()) or not _is_of(facts, video):
            return None
        try:
            metrics = _METRICS.validate_python(measured["metrics"])
        except ValidationError:
            return None  # measured by another version
        return Finished(metrics, facts["fingerprint"], facts["first_chunk"], made["seconds"], measured["by"])

    def store_failure(self, video: Video, error: str) -> None:
        """Why a video could not be made or measured."""
        write_json(self._failure_file(video), {"error": error})

    def failure(self, video: Video) -> str | None:
        """Why the last attempt to make or measure the video failed; None if it did not."""
        stored = read_json(self._failure_file(video))
        return None if stored is None else str(stored.get("error", ""))

    def _made_file(self, video: Video) -> Path:
        return self.stem(video).with_suffix(".made.json")

    def _measured_file(self, video: Video) -> Path:
        return self.stem(video).with_suffix(".figures.json")

    def _failure_file(self, video: Video) -> Path:
        return self.stem(video).with_suffix(".failure.json")


def facts_of(video: Video, fingerprint: str, first_chunk: FramesTHWC | None) -> dict[str, Any]:
    """What a video depends on. `first_chunk`: what the method is given; None if it makes its own."""
    given = None if first_chunk is None else digest(np.ascontiguousarray(first_chunk).tobytes())
    return {**asdict(video), "fingerprint": fingerprint, "first_chunk": given}


def _is_of(facts: Mapping[str, Any], video: Video) -> bool:
    return all(facts.get(name) == value for name, value in asdict(video).items())
