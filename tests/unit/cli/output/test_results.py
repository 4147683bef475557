"""Rows of the contact sheet: chunks, and the input from which they were made."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cli.output.input_clip import InputClip
from cli.output.results import sheet_rows, subtitle
from core.service.domain.schema import ControlSpec
from core.service.media.video import DecodeLimits
from tests.helpers.clips import clip, numbers_of
from tests.helpers.jobs import job_spec
from tests.helpers.shown_jobs import MakeJob, shown_chunks


def test_above_each_chunk_is_what_it_was_made_from(make_job: MakeJob) -> None:
    job = make_job(num_chunks=3)
    control = ControlSpec(type="canny", video="u", scale=1.0, start=0.0, end=1.0)
    job = job.model_copy(update={"request": job.request.model_copy(update={"control": control})})
    chunks = list(shown_chunks(job, -1))
    preview = [np.full((chunk.num_frames, 8, 8, 3), 200, np.uint8) for chunk in chunks]
    given = np.stack([np.full((8, 8, 3), index, np.uint8) for index in range(sum(map(len, preview)))])
    rows, labels = sheet_rows(job, chunks, preview, [], given)
    assert [label.splitlines()[0] for label in labels] == ["input", "chunk 0", "input", "chunk 1", "input", "chunk 2"]
    assert labels[0].splitlines()[1] == "control canny"
    assert [int(row[0, 0, 0, 0]) for row in rows[::2]] == [chunk.first_frame for chunk in chunks]
    assert [len(row) for row in rows[::2]] == [len(row) for row in rows[1::2]]


def test_without_an_input_there_are_chunks_only(make_job: MakeJob) -> None:
    job = make_job(num_chunks=1)
    rows, labels = sheet_rows(job, list(shown_chunks(job, -1)), [np.zeros((16, 8, 8, 3), np.uint8)], [])
    assert (len(rows), [label.splitlines()[0] for label in labels]) == (1, ["chunk 0"])


def test_a_size_is_part_of_what_makes_the_same_video(make_job: MakeJob) -> None:
    job = make_job()
    assert ", size" not in subtitle(job)
    wide = job.model_copy(update={"request": job.request.model_copy(update={"width": 96, "height": 64})})
    assert ", size 96x64," in subtitle(wide)


def test_a_clip_is_read_at_the_rate_and_size_of_what_was_made(tmp_path: Path) -> None:
    source = InputClip(clip(tmp_path / "a.mp4", 48, fps=8, height=64, width=64), DecodeLimits(10**6, 60.0, 60.0))
    frames = source.frames_for(job_spec(fps=4), np.zeros((20, 48, 96, 3), np.uint8))
    assert frames.shape == (20, 48, 96, 3)
    assert numbers_of(frames) == [*range(0, 40, 2)]
