"""Saves a job's final video and a contact sheet with one row per chunk; of a refined job both variants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

import numpy as np

from cli.output.input_clip import InputClip
from client import Job, Longtake
from core.service.domain.engine import FramesTHWC
from core.service.domain.errors import SetupError
from core.service.domain.frame_rate import seconds_of
from core.service.domain.schema import Chunk, JobSpec, JobSummary
from core.service.video.contact_sheet import contact_sheet
from core.service.video.decode import decode_frames
from core.service.video.time_slice import time_slices


@dataclass(frozen=True)
class SavedFiles:
    """Paths of the files that were written."""

    video: Path
    sheet: Path
    refined_video: Path | None = None
    time_slice: Path | None = None

    @property
    def files(self) -> list[Path]:
        return [file for file in (self.video, self.refined_video, self.sheet, self.time_slice) if file is not None]


IndependentRefiner = Callable[[JobSpec, FramesTHWC], FramesTHWC]
"""(spec, preview frames) -> the same frames refined in independent windows."""


def save_results(
    client: Longtake,
    job: Job,
    out_dir: Path,
    refine_independently: IndependentRefiner | None = None,
    clip: InputClip | None = None,
) -> SavedFiles:
    """Write out_dir/<job id>.mp4 (the final video) and out_dir/<job id>.png (rows decoded from the chunk objects; above
    each one with the frames of `clip` from which it was made, if it is passed).

    Of a refined job also <job id>_refined.mp4, and <job id>_time.png: one column of both videos over time, and of
    the result of `refine_independently`, if it is passed.
    """
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"the folder {out_dir} cannot be made: {error.strerror}") from error
    video, sheet = out_dir / f"{job.id}.mp4", out_dir / f"{job.id}.png"
    job.save(video)
    chunks = list(job.chunks(live=False))
    preview = [decode_frames(client.fetch(chunk.url)) for chunk in chunks]
    refined = [decode_frames(client.fetch(chunk.refined_url)) for chunk in chunks if chunk.refined_url]
    given = None if clip is None else clip.frames_for(job.request, np.concatenate(preview))
    rows, labels = sheet_rows(job.data, chunks, preview, refined, given)
    contact_sheet(rows, labels, title=job.request.prompt, subtitle=subtitle(job.data)).save(sheet)
    if not refined:
        return SavedFiles(video, sheet)
    refined_video, time_slice = out_dir / f"{job.id}_refined.mp4", out_dir / f"{job.id}_time.png"
    job.save(refined_video, "refined")
    videos = {"preview": np.concatenate(preview), "refined": np.concatenate(refined)}
    if refine_independently is not None:
        videos = {
            "preview": videos["preview"],
            "independent\nwindows": refine_independently(job.request, videos["preview"]),
            "ours": videos["refined"],
        }
    time_slices(list(videos.values()), list(videos)).save(time_slice)
    return SavedFiles(video, sheet, refined_video, time_slice)


def sheet_rows(
    job: JobSummary,
    chunks: Sequence[Chunk],
    preview: Sequence[FramesTHWC],
    refined: Sequence[FramesTHWC],
    given: FramesTHWC | None = None,
) -> tuple[list[FramesTHWC], list[str]]:
    """Rows of the sheet and their labels: each chunk, below it the refined chunk, and above it the frames of the input
    from which it was made."""
    rows, labels = list[FramesTHWC](), list[str]()
    for chunk, frames, better in zip_longest(chunks, preview, refined):
        if given is not None:
            rows.append(given[chunk.first_frame :][: chunk.num_frames])
            labels.append(f"input\n{_how_used(job)}")
        rows.append(frames)
        labels.append(row_label(chunk, job.request.fps))
        if better is not None:
            rows.append(better)
            labels.append(f"refined {chunk.index}\n{better.shape[2]}x{better.shape[1]}")
    return rows, labels


def _how_used(job: JobSummary) -> str:
    control = job.request.control
    return "edited" if control is None else f"control {control.type}"


def subtitle(job: JobSummary) -> str:
    """What is needed to make the same video again, beside input media."""
    spec = job.request
    length = "without end" if spec.num_frames is None else f"{spec.num_frames} frames"
    size = "" if spec.height is None else f", size {spec.width}x{spec.height}"
    return f"{length} at {spec.fps} fps, model {spec.model}{size}, seed {spec.seed}"


def row_label(chunk: Chunk, fps: int | Fraction) -> str:
    """The chunk's index, its frames and its seconds."""
    end = chunk.first_frame + chunk.num_frames
    begins, ends = seconds_of(chunk.first_frame, fps), seconds_of(end, fps)
    return f"chunk {chunk.index}\nframes {chunk.first_frame}-{end - 1}\n{begins:.1f}-{ends:.1f} s"
