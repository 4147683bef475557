"""Saves what a job made: the final video and a contact sheet with one row per chunk. Asks only the HTTP API."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cli.client import Client
from core.service.errors import SetupError
from core.service.schema import Chunk, Job
from core.service.video.contact_sheet import contact_sheet
from core.service.video.decode import decode_frames


@dataclass(frozen=True)
class Saved:
    """Where the files lie."""

    video: Path
    sheet: Path


def save_results(client: Client, job: Job, out_dir: Path) -> Saved:
    """Write out_dir/<job id>.mp4 (the final video) and out_dir/<job id>.png (rows decoded from the chunk objects)."""
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"the folder {out_dir} cannot be made: {error.strerror}") from error
    saved = Saved(out_dir / f"{job.id}.mp4", out_dir / f"{job.id}.png")
    client.download(job.links.video, saved.video)
    rows = [decode_frames(client.fetch(chunk.url)) for chunk in job.chunks]
    labels = [row_label(chunk, job.request.fps) for chunk in job.chunks]
    contact_sheet(rows, labels, title=job.request.prompt, subtitle=subtitle(job)).save(saved.sheet)
    return saved


def subtitle(job: Job) -> str:
    """What the video can be made again with."""
    spec = job.request
    return f"{spec.num_frames} frames at {spec.fps} fps, model {spec.model}, seed {spec.seed}"


def row_label(chunk: Chunk, fps: int) -> str:
    """A row's name, and below it which frames and seconds it shows."""
    end = chunk.first_frame + chunk.num_frames
    return f"chunk {chunk.index}\nframes {chunk.first_frame}-{end - 1}\n{chunk.first_frame / fps:.1f}-{end / fps:.1f} s"
