"""The `seams` suite: held-out clips of the sprites world, refined in four ways from the same inputs, and their seams.

A preview is a true clip as the autoencoder shows it, so that no base model is needed and the truth is known: beside the
ways stand the true clip at the refined size, whose motion has a seam score of its own, and the enlarged preview. What
is measured of a clip with a seed is kept, so an interrupted run goes on where it stopped.

Shapes: T frames, H, W pixel rows and columns, N clips, K seeds, M figures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from core.model.engines.streaming_t2v.preset import read_preset
from core.model.evaluation.bootstrap import Interval, Values, interval
from core.model.evaluation.chart import Mark, Panel, chart
from core.model.evaluation.progress import progress_bar
from core.model.evaluation.reader import Frames
from core.model.evaluation.seams import WAYS, at_seams, false_changes, gain_kept, refine_every_way, seam_figures
from core.model.evaluation.sprites_suite import SUITE_SEED, suite_scenes
from core.model.refinement.engine import WindowRefiner, enlarged
from core.model.refinement.loading import load_refiner
from core.model.sampling.vae import to_uint8
from core.model.training import captions, sprites
from core.service.admission.catalog import default_spec
from core.service.admission.refine_request import refine_spec_of
from core.service.domain.errors import PresetError
from core.service.domain.frame_plan import refinement_windows
from core.service.domain.refine_plan import refine_spec
from core.service.domain.schema import JobSpec, RefineOptions
from core.service.engines.preset import Preset
from core.service.video.time_slice import time_slices

TRUE, GIVEN = "true clip", "preview, enlarged"
ROWS = (TRUE, GIVEN, *WAYS)
_CLIPS, _SEEDS, _FRAMES = 10, 3, 56
MEASURE = 1
"""Which way of measuring kept figures are of. A change of seams.py or block_flow.py that alters figures raises it."""
_LEAST_FRAMES = 25
"""Fewer are one window, which has no seam."""


@dataclass(frozen=True)
class Figures:
    """One video, or their mean."""

    score: float
    """Standard deviation over frames of the flow's magnitude, pixels."""
    across: float
    """Flow magnitude across the middle of overlaps, pixels."""
    false_at_seams: float
    """Largest false change of an overlap, mean over overlaps; grey levels."""
    false_elsewhere: float
    """False change outside overlaps; grey levels."""


@dataclass(frozen=True)
class Asked:
    """What is measured."""

    clips: int
    seeds: int
    frames: int
    strength: float | None = None
    """None: the preset's."""

    @property
    def name(self) -> str:
        """Of the folder that keeps what was measured."""
        return f"seams-{self.frames}" + ("" if self.strength is None else f"-{self.strength:g}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of this suite alone."""
    group = parser.add_argument_group("suite `seams`", "the preset's refiner on true clips; needs no other weights")
    group.add_argument("--strength", type=float, help="how much may change, in (0, 1] (default: the preset's)")
    group.add_argument("--seeds", type=int, default=_SEEDS, help="times each clip is refined (default %(default)s)")


def main(arguments: argparse.Namespace) -> int:
    """Measure, write the report, print the table. Raises PresetError."""
    asked = Asked(arguments.prompts or _CLIPS, arguments.seeds, arguments.frames or _FRAMES, arguments.strength)
    if asked.strength is not None and not 0 < asked.strength <= 1:
        sys.stderr.write(f"longtake evaluate: --strength must be above 0 and at most 1, not {asked.strength:g}\n")
        return 2
    if asked.frames < _LEAST_FRAMES or asked.seeds < 1:
        sys.stderr.write(
            "longtake evaluate: a seam needs --frames of 25 or more (two windows), and --seeds 1 or more\n"
        )
        return 2
    facts = read_preset(arguments.preset)
    refiner = load_refiner(arguments.preset, torch_threads=arguments.threads)
    folder = arguments.out / f"{facts.name}-{asked.name}"
    with progress_bar() as advance:
        told = advance("clips refined four ways", asked.clips * asked.seeds)
        measured = list[dict[str, Figures]]()
        for figures in measure_all(refiner, facts, asked, folder):
            measured.append(figures)
            told(len(measured))
    report = Report.of(measured, asked, refiner.fingerprint)
    report.write(folder)
    slices_of(folder, asked).save(folder / "slices.png")
    sys.stdout.write(f"{report.table()}\n\n{folder}/report.md, report.json, report.png, slices.png\n")
    return 0


def measure_all(refiner: WindowRefiner, facts: Preset, asked: Asked, folder: Path) -> Iterator[dict[str, Figures]]:
    """Figures by row, clip by clip and of each seed by seed. Raises PresetError for a preset of another world."""
    for index, scene in enumerate(suite_scenes(asked.clips)):
        of_clip: dict[str, Figures] = {}
        for number in range(asked.seeds):
            spec = spec_of(facts, captions.plain_caption(scene), asked, SUITE_SEED + number)
            figures = _measured_once(refiner, spec, scene, _stem(folder, index, number), of_clip)
            of_clip = {row: figures[row] for row in (TRUE, GIVEN)}
            yield figures


def spec_of(facts: Preset, prompt: str, asked: Asked, seed: int) -> JobSpec:
    """A request with the preset's own refinement, but for the strength. Raises PresetError or InvalidField."""
    refine = refine_spec_of(RefineOptions(strength=asked.strength), facts)
    if refine is None or {facts.height, facts.width} != {sprites.SIZE} or refine.height % sprites.SIZE:
        raise PresetError(
            f"{facts.name} does not refine the sprites world, {sprites.SIZE}x{sprites.SIZE} to a multiple of it",
            fix="name a preset of that world with --preset",
        )
    return default_spec(facts, prompt, asked.frames, seed).model_copy(update={"refine": refine})


def _stem(folder: Path, clip: int, seed: int) -> Path:
    return folder / f"{clip:03d}-{seed}"


def _measured_once(
    refiner: WindowRefiner, spec: JobSpec, scene: sprites.Scene, stem: Path, of_clip: Mapping[str, Figures]
) -> dict[str, Figures]:
    """Figures by row: those kept, where the same request was refined by the same refiner and measured alike before.

    `of_clip`: figures of this clip that no seed changes, where they are known.
    """
    file = stem.with_suffix(".json")
    facts = {"spec": spec.model_dump(mode="json"), "refiner": refiner.fingerprint, "measure": MEASURE}
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    if kept is not None and kept["facts"] == facts:
        return {row: Figures(**figures) for row, figures in kept["figures"].items()}
    stem.parent.mkdir(parents=True, exist_ok=True)
    videos = refined_videos(refiner, spec, scene)
    figures = {row: of_clip.get(row) or figures_of(frames, videos[TRUE]) for row, frames in videos.items()}
    _write_slices(stem, videos)
    # The figures come last and whole: where they are, all is.
    unfinished = stem.with_suffix(f".{os.getpid()}")
    content = {"facts": facts, "figures": {row: asdict(figure) for row, figure in figures.items()}}
    unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(file)
    return figures


def refined_videos(refiner: WindowRefiner, spec: JobSpec, scene: sprites.Scene) -> dict[str, Frames]:
    """Frames by row, all of the refined size."""
    size = refine_spec(spec)
    preview = refiner.reconstructed(sprites.render(scene, spec.num_frames))
    video = refiner.in_latents(spec, preview)
    return {
        TRUE: sprites.render(scene, spec.num_frames, scale=size.height // sprites.SIZE),
        GIVEN: to_uint8(enlarged(preview, size.height, size.width) * 0.5 + 0.5),
        **dict(refine_every_way(video.refiner, video.clean_1CVHW, video.decode)),
    }


def figures_of(frames_thwc: Frames, true_thwc: Frames) -> Figures:
    """Of a video that was refined in the windows of its length, of which there are at least two."""
    seam = seam_figures(frames_thwc)
    at, elsewhere = at_seams(false_changes(frames_thwc, true_thwc), refinement_windows(len(frames_thwc)))
    return Figures(seam.score, seam.across, at, elsewhere)


def _write_slices(stem: Path, videos: Mapping[str, Frames]) -> None:
    """The middle column of every frame of every row: what slices.png is drawn from."""
    middle = {row: frames[:, :, frames.shape[2] // 2][:, :, None] for row, frames in videos.items()}
    np.savez_compressed(stem.with_suffix(".npz"), allow_pickle=False, **middle)


def slices_of(folder: Path, asked: Asked) -> Any:
    """A picture: a row per way, of the clip whose true middle column changes most; its first seed."""
    clips = [dict(np.load(_stem(folder, clip, 0).with_suffix(".npz"))) for clip in range(asked.clips)]
    liveliest = max(clips, key=lambda rows: float(np.abs(np.diff(rows[TRUE].astype(np.float32), axis=0)).mean()))
    return time_slices([liveliest[row] for row in ROWS], [row.replace(", ", ",\n").replace(" ", "\n") for row in ROWS])


@dataclass(frozen=True)
class Report:
    """All figures with their intervals."""

    asked: Asked
    refiner: str
    """Its fingerprint."""
    rows: Mapping[str, Mapping[str, Interval]]
    """By row and name of the figure."""
    above_true: Mapping[str, Interval]
    """Seam score less that of the true clip, whose motion is not a seam's, by row."""
    gain: Mapping[str, Interval]
    """Lockstep's gain over independent windows, by figure."""
    kept: Mapping[str, Interval]
    """Share of the gain that streaming keeps, by figure; a share of a gain that may be none says nothing."""

    @staticmethod
    def of(measured: Sequence[Mapping[str, Figures]], asked: Asked, refiner: str) -> Report:
        """`measured`: clip by clip, of each seed by seed."""
        values_NKRM = np.array([[astuple(by_row[row]) for row in ROWS] for by_row in measured], np.float64)
        by_clip_NRM: Values = values_NKRM.reshape(asked.clips, asked.seeds, *values_NKRM.shape[1:]).mean(axis=1)
        names = [field.name for field in fields(Figures)]
        judged = {name: by_clip_NRM[:, :, names.index(name)] for name in ("score", "across", "false_at_seams")}
        gain = {name: interval(by_row, _gain) for name, by_row in judged.items()}
        return Report(
            asked,
            refiner,
            {
                row: {name: interval(by_clip_NRM[:, r, m], lambda means: means) for m, name in enumerate(names)}
                for r, row in enumerate(ROWS)
            },
            {
                row: interval(judged["score"], lambda means, r=r: means[:, r] - means[:, 0])
                for r, row in enumerate(ROWS)
            },
            gain,
            {name: interval(judged[name], _gain_kept) for name in judged if gain[name].low > 0},
        )

    def table(self) -> str:
        """For people: a row per way, and what streaming keeps."""
        lines = ["| | " + " | ".join(_HEADINGS) + " |", "|---" * (len(_HEADINGS) + 1) + "|"]
        for row, figures in self.rows.items():
            score, *others = figures.values()
            cells = (score, self.above_true[row], *others)
            lines.append(f"| {row} | " + " | ".join(map(str, cells)) + " |")
        lines += [
            "",
            "| | lockstep's gain over independent windows | share that streaming keeps (target 0.8) |",
            "|---|---|---|",
        ]
        lines += [f"| {_TITLES[name]} | {gain} | {self.kept.get(name, _NO_GAIN)} |" for name, gain in self.gain.items()]
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        """report.md, report.json and report.png."""
        asked = self.asked
        title = f"Seams: {asked.clips} held-out clips of {asked.frames} frames, seeds: {asked.seeds}"
        title += "" if asked.strength is None else f", strength {asked.strength:g}"
        explained = "Means over clips with 95 % intervals (bootstrap over clips). Less is better throughout."
        text = f"# {title}\n\nRefiner: {self.refiner}\n\n{explained}\n\n{self.table()}\n"
        (folder / "report.md").write_text(text, encoding="utf-8")
        (folder / "report.json").write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        panels = [
            Panel(_TITLES[name], [Mark(row, *astuple(self.rows[row][name])) for row in ROWS])
            for name in ("score", "across", "false_at_seams")
        ]
        chart(title, panels).save(folder / "report.png")


_TITLES = {
    "score": "seam score: deviation of the flow over frames, pixels",
    "across": "flow across window borders, pixels",
    "false_at_seams": "false change at seams, grey levels",
}
_NO_GAIN = "lockstep's gain is not told apart from none"
_HEADINGS = (
    "seam score, pixels",
    "above the true clip's",
    "flow across window borders, pixels",
    "false change at seams, grey levels",
    "false change elsewhere",
)


def _gain(means: Values) -> Values:
    """Of means by row [resamples, rows]: independent less lockstep."""
    return means[:, ROWS.index("independent")] - means[:, ROWS.index("lockstep")]


def _gain_kept(means: Values) -> Values:
    """Of means by row [resamples, rows]: what streaming keeps of it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return gain_kept({row: means[:, index] for index, row in enumerate(ROWS)})
