"""The suite `sprites`: videos of held-out prompts, compared with targets and the autoencoder's upper bound."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from core.metrics.video.cuts import NOT_MEASURED, can_count_cuts
from core.model.cores import usable_cores
from core.model.engines.streaming_t2v.loading import load_engine
from core.model.engines.streaming_t2v.preset import read_preset
from core.model.evaluation.generation.progress import progress_bars
from core.model.evaluation.generation.speed import frames_per_second
from core.model.evaluation.generation.sprites_requests import suite_requests
from core.model.evaluation.generation.upper_bound import AutoencoderEvaluator, load_autoencoder
from core.model.evaluation.generation.videos import EngineEvaluator, VideoRequest, evaluate_all
from core.model.evaluation.metrics.measurements import Measured, Measurer
from core.model.evaluation.metrics.video_figures import CHUNK
from core.model.evaluation.metrics.vision_tower import load_tower
from core.model.evaluation.reports.report import Report, Section, write_sheet
from core.model.evaluation.reports.summary import FIRST_CHUNK, LONG_VIDEO, SEAMS, Row, row_of, summarise
from core.model.training.sprites import world
from core.service.admission.catalog import Preset, default_spec
from core.service.domain.engine import Engine
from core.service.domain.errors import PresetError

_NO_HEADS = "Likeness of prompt and clip is not measured: the preset has no clip_heads.safetensors."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this suite only."""
    group = parser.add_argument_group("suite `sprites`")
    group.add_argument("--no-speed", action="store_true", help="skip the speed measurement, if other work uses the CPU")


def main(arguments: argparse.Namespace) -> int:
    """Make and measure the videos, write the report, print the table; returns the exit status. Raises PresetError."""
    preset = read_preset(arguments.preset)
    if (preset.height, preset.width) != (world.SIZE, world.SIZE):
        raise PresetError(
            f"{preset.name} does not show the sprites world of {world.SIZE}x{world.SIZE} pixels",
            fix="name a preset of that world with --preset",
        )
    num_frames = arguments.frames or CHUNK
    folder = arguments.out / f"{preset.name}-{num_frames}"
    engine = load_engine(arguments.preset)
    speeds = [] if arguments.no_speed else _measure_speed(engine, preset)
    requests = suite_requests(preset, arguments.prompts or 50, num_frames, folder)
    with progress_bars() as add_bar:
        evaluated = evaluate_all(
            partial(_load_evaluator, arguments.preset, arguments.threads),
            requests,
            add_bar("videos, and true clips through the autoencoder", len(requests)),
            arguments.processes,
        )
    true_clips, videos = [both.true_clip for both in evaluated], [both.video for both in evaluated]
    report = Report(
        title=f"{preset.name}, {len(requests)} held-out prompts, {num_frames} frames",
        engine=engine.fingerprint,
        sections=[*_sections(videos, num_frames), Section("Machine", [*speeds, *_weights(arguments.preset)])],
        upper_bounds={row.name: row.value for s in _sections(true_clips, num_frames) for row in s.rows},
        notes=_notes(videos),
    )
    report.write(folder)
    write_sheet(requests, report.title, folder / "sheet.png")
    sys.stdout.write(f"{report.table()}\n\n{folder}/report.md, report.json, report.png, sheet.png\n")
    return 0


@dataclass(frozen=True)
class _Both:
    """The figures of a scene's own frames through the autoencoder, and of the video of its prompt."""

    true_clip: Measured
    video: Measured


@dataclass(frozen=True)
class _BothEvaluator:
    """Both in one pool of processes: each takes seconds to start."""

    true_clip: AutoencoderEvaluator
    video: EngineEvaluator

    def __call__(self, request: VideoRequest) -> _Both:
        return _Both(self.true_clip(request), self.video(request))


def _load_evaluator(preset: Path, threads: int) -> _BothEvaluator:
    torch.set_num_threads(threads)
    measure = Measurer(load_tower(preset))
    engine = load_engine(preset, torch_threads=threads)
    return _BothEvaluator(AutoencoderEvaluator(load_autoencoder(preset), measure), EngineEvaluator(engine, measure))


def _measure_speed(engine: Engine, preset: Preset) -> list[Row]:
    """Frames per second of a long video on all cores."""
    sys.stderr.write("measuring the speed of one video on all cores: nothing else should run (--no-speed skips this)\n")
    speeds = frames_per_second(engine, default_spec(preset, "", CHUNK, 0))
    name = f"frames per second, decoding included, {usable_cores()} cores"
    return [row_of(name, speeds, 4.0), row_of("the same, faster than it plays", speeds, 8.0)]


def _weights(preset: Path) -> list[Row]:
    """Size of the weights in the preset's folder; no row if it has none."""
    megabytes = sum(file.stat().st_size for file in preset.rglob("*.safetensors")) / 1e6
    return [Row("weights, MB", megabytes, megabytes, megabytes, 1, 25.0, at_most=True)] if megabytes else []


def _sections(measured: Sequence[Measured], num_frames: int) -> list[Section]:
    """First-chunk metrics, and for longer videos those of long videos and seams."""
    sections = [Section("First chunk", summarise(measured, FIRST_CHUNK))]
    if num_frames > CHUNK:
        sections.append(Section(f"All {num_frames} frames", summarise(measured, LONG_VIDEO)))
        sections.append(Section("Seams", summarise(measured, SEAMS)))
    return [section for section in sections if section.rows]


def _notes(measured: Sequence[Measured]) -> list[str]:
    """Figures that were not measured, and why."""
    notes = [] if can_count_cuts() else [NOT_MEASURED]
    return notes if measured[0].tower.text_likeness_at_start is not None else [*notes, _NO_HEADS]
