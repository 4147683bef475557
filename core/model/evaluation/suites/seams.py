"""The suite `seams`: held-out clips of the sprites world, refined by four methods from the same inputs.

A preview is a true clip after the autoencoder, so no base model is needed and the truth is known. The true clip at the
refined size, whose motion has a flow std of its own, and the enlarged preview are measured beside the methods.
Figures of each clip and seed are cached, so an interrupted run continues where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from core.model.engines.streaming_t2v.preset import read_preset
from core.model.evaluation.generation.progress import progress_bars
from core.model.evaluation.generation.refinement_methods import refine_with_all_methods
from core.model.evaluation.generation.sprites_requests import SUITE_SEED, suite_scenes
from core.model.evaluation.generation.videos import facts_of
from core.model.evaluation.metrics.seam_figures import SeamFigures, seam_figures
from core.model.evaluation.reports.seams_report import PREVIEW, ROWS, TRUE, SeamsConfig, SeamsReport
from core.model.refinement.codec import enlarged
from core.model.refinement.engine import WindowRefiner
from core.model.refinement.loading import load_refiner
from core.model.sampling.vae import to_uint8
from core.model.training.sprites import captions, world
from core.model.training.sprites.rendering import render
from core.service.admission.catalog import Preset, default_spec
from core.service.admission.refine_request import refine_spec_of
from core.service.domain.engine import FramesTHWC
from core.service.domain.errors import PresetError
from core.service.domain.refine_plan import refine_spec
from core.service.domain.schema import JobSpec, RefineOptions
from core.service.video.time_slice import time_slices
from core.whole_files import write_whole

_CLIPS, _SEEDS, _FRAMES = 10, 3, 56
MEASURE = 1
"""Version of the measurement. Raise it when figures change in seam_figures.py or block_flow.py: cached ones expire."""
_MIN_FRAMES = 25
"""Shorter videos are one window, which has no seam."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this suite only."""
    group = parser.add_argument_group("suite `seams`", "the preset's refiner on true clips; needs no other weights")
    group.add_argument("--strength", type=float, help="refinement strength, in (0, 1] (default: the preset's)")


def main(arguments: argparse.Namespace) -> int:
    """Measure, write the report, print the table; returns the exit status. Raises PresetError."""
    clips, seeds = arguments.prompts or _CLIPS, arguments.seeds or _SEEDS
    config = SeamsConfig(clips, seeds, arguments.frames or _FRAMES, arguments.strength)
    if config.strength is not None and not 0 < config.strength <= 1:
        sys.stderr.write(f"longtake evaluate: --strength must be above 0 and at most 1, not {config.strength:g}\n")
        return 2
    if config.frames < _MIN_FRAMES:
        sys.stderr.write("longtake evaluate: a seam needs --frames of 25 or more: two windows\n")
        return 2
    preset = read_preset(arguments.preset)
    refiner = load_refiner(arguments.preset, torch_threads=arguments.threads)
    folder = arguments.out / f"{preset.name}-{config.name}"
    with progress_bars() as add_bar:
        update = add_bar("clips refined by four methods", config.clips * config.seeds)
        measured = list[dict[str, SeamFigures]]()
        for figures in measure_all(refiner, preset, config, folder):
            measured.append(figures)
            update(len(measured))
    report = SeamsReport.of(measured, config, refiner.fingerprint)
    report.write(folder)
    draw_slices(folder, config).save(folder / "slices.png")
    sys.stdout.write(f"{report.table()}\n\n{folder}/report.md, report.json, report.png, slices.png\n")
    return 0


def measure_all(
    refiner: WindowRefiner, preset: Preset, config: SeamsConfig, folder: Path
) -> Iterator[dict[str, SeamFigures]]:
    """Figures by row, for each clip and within it for each seed. Raises PresetError for a preset of another world."""
    for index, scene in enumerate(suite_scenes(config.clips)):
        of_clip: dict[str, SeamFigures] = {}
        for number in range(config.seeds):
            spec = spec_of(preset, captions.plain_caption(scene), config, SUITE_SEED + number)
            figures = _measured_once(refiner, spec, scene, _stem(folder, index, number), of_clip)
            of_clip = {row: figures[row] for row in (TRUE, PREVIEW)}
            yield figures


def spec_of(preset: Preset, prompt: str, config: SeamsConfig, seed: int) -> JobSpec:
    """A request with the preset's own refinement, but for the strength. Raises PresetError or InvalidField."""
    refine = refine_spec_of(RefineOptions(strength=config.strength), preset)
    if refine is None or {preset.height, preset.width} != {world.SIZE} or refine.height % world.SIZE:
        raise PresetError(
            f"{preset.name} does not refine the sprites world, {world.SIZE}x{world.SIZE} to a multiple of it",
            fix="name a preset of that world with --preset",
        )
    return default_spec(preset, prompt, config.frames, seed).model_copy(update={"refine": refine})


def _stem(folder: Path, clip: int, seed: int) -> Path:
    return folder / f"{clip:03d}-{seed}"


def _measured_once(
    refiner: WindowRefiner, spec: JobSpec, scene: world.Scene, stem: Path, of_clip: Mapping[str, SeamFigures]
) -> dict[str, SeamFigures]:
    """Figures by row: the cached ones if request, refiner and measurement are the same, else measured now.

    `of_clip`: figures of this clip that do not depend on the seed, if already known.
    """
    file = stem.with_suffix(".json")
    key = {"spec": facts_of(spec), "refiner": refiner.fingerprint, "measure": MEASURE}
    cached = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    if cached is not None and cached["facts"] == key:
        return {row: SeamFigures(**figures) for row, figures in cached["figures"].items()}
    stem.parent.mkdir(parents=True, exist_ok=True)
    videos = refined_videos(refiner, spec, scene)
    figures = {row: of_clip.get(row) or seam_figures(frames, videos[TRUE]) for row, frames in videos.items()}
    _write_slices(stem, videos)
    # Figures are written last and atomically: if they exist, everything does.
    content = {"facts": key, "figures": {row: asdict(figure) for row, figure in figures.items()}}
    write_whole(file, (json.dumps(content, indent=1) + "\n").encode())
    return figures


def refined_videos(refiner: WindowRefiner, spec: JobSpec, scene: world.Scene) -> dict[str, FramesTHWC]:
    """Frames by row, all at the refined size."""
    size = refine_spec(spec)
    preview = refiner.reconstructed(render(scene, spec.length))
    video = refiner.encode_preview(spec, preview)
    return {
        TRUE: render(scene, spec.length, scale=size.height // world.SIZE),
        PREVIEW: to_uint8(enlarged(preview, size.height, size.width) * 0.5 + 0.5),
        **dict(refine_with_all_methods(video.refiner, video.clean_1CVHW, video.decode)),
    }


def _write_slices(stem: Path, videos: Mapping[str, FramesTHWC]) -> None:
    """Write the middle column of every frame of every row: slices.png is drawn from it."""
    middle = {row: frames[:, :, frames.shape[2] // 2][:, :, None] for row, frames in videos.items()}
    np.savez_compressed(stem.with_suffix(".npz"), allow_pickle=False, **middle)


def draw_slices(folder: Path, config: SeamsConfig) -> Any:
    """A picture with one time slice per row, of the clip whose true middle column changes most; its first seed."""
    clips = [dict(np.load(_stem(folder, clip, 0).with_suffix(".npz"))) for clip in range(config.clips)]
    clip = max(clips, key=lambda rows: float(np.abs(np.diff(rows[TRUE].astype(np.float32), axis=0)).mean()))
    return time_slices([clip[row] for row in ROWS], [row.replace(", ", ",\n").replace(" ", "\n") for row in ROWS])
