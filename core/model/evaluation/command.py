"""The evaluation command: `longtake evaluate` calls main(argv).

Makes the suite's videos with a preset's engine, measures them and writes a table, a chart and pictures. Knows no
figure's insides.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from core.model.arguments import whole
from core.model.cores import usable_cores
from core.model.engines.streaming_t2v.loading import load_engine
from core.model.engines.streaming_t2v.preset import read_preset
from core.model.evaluation import ablation_suite, seams_suite
from core.model.evaluation.figures import CHUNK
from core.model.evaluation.hard_cuts import NOT_MEASURED, can_count_cuts
from core.model.evaluation.measurements import Measured, Measurer
from core.model.evaluation.progress import progress_bar
from core.model.evaluation.report import Report, Section, write_sheet
from core.model.evaluation.speed import frames_per_second
from core.model.evaluation.sprites_suite import suite_orders
from core.model.evaluation.summary import FIRST_CHUNK, LONG_VIDEO, SEAMS, Row, row_of, summarise
from core.model.evaluation.upper_bound import AutoencoderStudio, load_autoencoder
from core.model.evaluation.videos import EngineStudio, Studio, fulfil
from core.model.evaluation.vision_tower import load_tower
from core.model.training import sprites
from core.service.admission.catalog import default_spec
from core.service.domain.engine import Engine
from core.service.domain.errors import LongtakeError, PresetError
from core.service.engines.preset import Preset
from core.service.settings import SHIPPED_PRESETS_DIR

_NO_HEADS = "Likeness of prompt and clip is not measured: the preset has no clip_heads.safetensors."
_EPILOG = """\
examples:
  longtake evaluate --suite sprites                         50 held-out prompts, first chunks only
  longtake evaluate --suite sprites --frames 240 --processes 2
                                                            the same with long videos: does the scene hold?
  longtake evaluate --suite sprites --preset runs/sprites/preset --out out/mine
  longtake evaluate --suite ablations --work runs/sprites --processes 2
                                                            CAM and APM against other conditionings, trained alike
  longtake evaluate --suite history-noise --work runs/sprites --processes 2
  longtake evaluate --suite seams                           the refiner: how well do its windows join?

Stop it whenever you like: finished videos are kept in the output folder and the same command goes on from there.
Hard cuts need PySceneDetect: pip install 'longtake[evaluate]'. What each figure means: docs/evaluation.md.
"""


def parser() -> argparse.ArgumentParser:
    """Arguments of the command; --help teaches."""
    made = argparse.ArgumentParser(
        prog="longtake evaluate",
        description="Measure a preset: do its videos show what was asked for, and does it hold?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--suite", choices=tuple(_SUITES), required=True, help="what is made and measured")
    made.add_argument("--preset", type=Path, default=SHIPPED_PRESETS_DIR / "sprites", help="folder of the preset")
    made.add_argument(
        "--prompts",
        type=whole,
        help="held-out prompts (default: sprites 50, ablations 20, history-noise 10, seams 10)",
    )
    made.add_argument(
        "--frames",
        type=whole,
        help="length of each video (default: sprites 16, the first chunk; ablations 96; history-noise 240; seams 56)",
    )
    made.add_argument("--out", type=Path, default=Path("out/evaluation"), help="output folder")
    made.add_argument(
        "--processes",
        type=whole,
        default=1,
        help="videos made at a time, each by a process of its own (default 1). On a CPU as many as cores are fastest",
    )
    made.add_argument("--threads", type=whole, help="CPU threads of each process (default: the cores, shared out)")
    made.add_argument(
        "--no-speed",
        action="store_true",
        help="suite `sprites`: leave out the speed, where other work shares the cores",
    )
    ablation_suite.add_arguments(made)
    seams_suite.add_arguments(made)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 2 for what cannot be measured as asked, 130 where it was stopped."""
    arguments = parser().parse_args(argv)
    arguments.threads = arguments.threads or max(1, usable_cores() // arguments.processes)
    try:
        return _SUITES[arguments.suite](arguments)
    except LongtakeError as error:
        sys.stderr.write(f"longtake evaluate: {error.with_fix}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("longtake evaluate: stopped; the same command goes on from here\n")
        return 130


def evaluate_sprites(arguments: argparse.Namespace) -> int:
    """The `sprites` suite. Raises PresetError."""
    facts = read_preset(arguments.preset)
    if (facts.height, facts.width) != (sprites.SIZE, sprites.SIZE):
        raise PresetError(
            f"{facts.name} does not draw the sprites world of {sprites.SIZE}x{sprites.SIZE} pixels",
            fix="name a preset of that world with --preset",
        )
    num_frames = arguments.frames or CHUNK
    folder = arguments.out / f"{facts.name}-{num_frames}"
    engine = load_engine(arguments.preset)
    speeds = [] if arguments.no_speed else _measure_speed(engine, facts)
    orders = suite_orders(facts, arguments.prompts or 50, num_frames, folder)
    with progress_bar() as advance:
        true_clips = fulfil(
            partial(_open_autoencoder, arguments.preset, arguments.threads),
            orders,
            advance("true clips, autoencoder only", len(orders)),
            arguments.processes,
        )
        made = fulfil(
            partial(_open_engine, arguments.preset, arguments.threads),
            orders,
            advance("videos", len(orders)),
            arguments.processes,
        )
    report = Report(
        title=f"{facts.name}, {len(orders)} held-out prompts, {num_frames} frames",
        engine=engine.fingerprint,
        sections=[*_sections(made, num_frames), Section("Machine", [*speeds, *_weights(arguments.preset)])],
        upper_bounds={row.name: row.value for s in _sections(true_clips, num_frames) for row in s.rows},
        notes=_notes(made),
    )
    report.write(folder)
    write_sheet(orders, report.title, folder / "sheet.png")
    sys.stdout.write(f"{report.table()}\n\n{folder}/report.md, report.json, report.png, sheet.png\n")
    return 0


def _open_engine(preset: Path, threads: int) -> Studio:
    return EngineStudio(load_engine(preset, torch_threads=threads), Measurer(load_tower(preset)))


def _open_autoencoder(preset: Path, threads: int) -> Studio:
    torch.set_num_threads(threads)
    return AutoencoderStudio(load_autoencoder(preset), Measurer(load_tower(preset)))


def _measure_speed(engine: Engine, facts: Preset) -> list[Row]:
    """How fast it makes a long video on all cores."""
    sys.stderr.write(
        "measuring the speed of one video on all cores: nothing else should run (--no-speed leaves it out)\n"
    )
    speeds = frames_per_second(engine, default_spec(facts, "", CHUNK, 0))
    name = f"frames per second, decoding included, {usable_cores()} cores"
    return [row_of(name, speeds, 4.0), row_of("the same, faster than it plays", speeds, 8.0)]


def _weights(preset: Path) -> list[Row]:
    """What the checkout carries; nothing where the weights are elsewhere."""
    megabytes = sum(file.stat().st_size for file in preset.rglob("*.safetensors")) / 1e6
    return [Row("weights, MB", megabytes, megabytes, megabytes, 1, 25.0, at_most=True)] if megabytes else []


def _sections(measured: Sequence[Measured], num_frames: int) -> list[Section]:
    """The suite's questions, those of long videos where they are long."""
    sections = [Section("First chunk", summarise(measured, FIRST_CHUNK))]
    if num_frames > CHUNK:
        sections.append(Section(f"All {num_frames} frames", summarise(measured, LONG_VIDEO)))
        sections.append(Section("Seams", summarise(measured, SEAMS)))
    return [section for section in sections if section.rows]


def _notes(made: Sequence[Measured]) -> list[str]:
    """What was not measured, and why."""
    notes = [] if can_count_cuts() else [NOT_MEASURED]
    return notes if made[0].tower.text_likeness_at_start is not None else [*notes, _NO_HEADS]


_SUITES: dict[str, Callable[[argparse.Namespace], int]] = {
    "sprites": evaluate_sprites,
    "ablations": ablation_suite.main,
    "history-noise": ablation_suite.main,
    "seams": seams_suite.main,
}


if __name__ == "__main__":
    sys.exit(main())
