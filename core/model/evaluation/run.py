"""The evaluation command: `longtake evaluate` calls main(argv).

Makes the suite's videos with a preset's engine, measures them and writes a table, the figures as JSON and a picture.
Knows no figure's insides.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from core.model.evaluation.figures import CHUNK
from core.model.evaluation.reader import Frames
from core.model.evaluation.sprites_suite import MakeSpec, run_suite, suite_scenes
from core.model.evaluation.summary import FIRST_CHUNK, LONG_VIDEO, Row, as_markdown, summarise
from core.model.presets import load_engine
from core.model.presets.facts import read_preset
from core.model.training import captions
from core.service.catalog import Preset
from core.service.errors import PresetError
from core.service.schema import DEFAULT_PROFILE, FirstChunkSampling, JobSpec
from core.service.settings import SHIPPED_PRESETS_DIR
from core.service.video.contact_sheet import contact_sheet

_SHEET_ROWS = 24
_EPILOG = """\
examples:
  longtake evaluate --suite sprites                         50 held-out prompts, first chunks only
  longtake evaluate --suite sprites --frames 240            the same with long videos: does the scene hold?
  longtake evaluate --suite sprites --preset runs/sprites/preset --out out/mine

Stop it whenever you like: finished videos are kept in the output folder and the same command goes on from there.
"""


def parser() -> argparse.ArgumentParser:
    """Arguments of the command; --help teaches."""
    made = argparse.ArgumentParser(
        prog="longtake evaluate",
        description="Measure a preset: do its videos show what was asked for, and does it hold?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--suite", choices=("sprites",), required=True, help="which videos are made and measured")
    made.add_argument("--preset", type=Path, default=SHIPPED_PRESETS_DIR / "sprites", help="folder of the preset")
    made.add_argument("--prompts", type=int, default=50, help="held-out prompts (default 50)")
    made.add_argument("--frames", type=int, default=CHUNK, help="length of each video (default 16, the first chunk)")
    made.add_argument("--out", type=Path, default=Path("out/evaluation"), help="output folder")
    made.add_argument("--threads", type=int, default=0, help="CPU threads (default: all cores)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status (2 for a preset that cannot be read)."""
    arguments = parser().parse_args(argv)
    try:
        facts = read_preset(arguments.preset)
        engine = load_engine(arguments.preset, torch_threads=arguments.threads)
    except PresetError as error:
        sys.stderr.write(f"longtake evaluate: {error}\n")
        return 2
    folder = arguments.out / f"{facts.name}-{arguments.frames}"
    with _bar() as bar:
        task = bar.add_task("videos", total=arguments.prompts)
        figures = run_suite(
            engine,
            _spec_maker(facts),
            arguments.prompts,
            arguments.frames,
            folder,
            lambda done, _all: bar.update(task, completed=done),
        )
    rows = summarise(figures, (*FIRST_CHUNK, *(LONG_VIDEO if arguments.frames > CHUNK else ())))
    _write_report(folder, rows, engine.fingerprint, arguments.frames)
    _write_sheet(folder, min(arguments.prompts, _SHEET_ROWS))
    sys.stdout.write(as_markdown(rows) + f"\n\n{folder}/report.md, report.json, sheet.png\n")
    return 0


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )


def _spec_maker(facts: Preset) -> MakeSpec:
    """Requests with the preset's defaults."""
    profile = facts.profiles[DEFAULT_PROFILE]
    first_chunk = FirstChunkSampling(
        num_inference_steps=profile.first_chunk.num_inference_steps, guidance_scale=profile.first_chunk.guidance_scale
    )

    def make(prompt: str, num_frames: int, seed: int) -> JobSpec:
        return JobSpec(
            prompt=prompt,
            negative_prompt=facts.negative_prompt,
            num_frames=num_frames,
            fps=facts.fps,
            seed=seed,
            model=facts.name,
            guidance_scale=profile.windows.guidance_scale,
            num_inference_steps=profile.windows.num_inference_steps,
            profile=DEFAULT_PROFILE,
            first_chunk=first_chunk,
        )

    return make


def _write_report(folder: Path, rows: Sequence[Row], engine: str, num_frames: int) -> None:
    """report.json and report.md."""
    content = {"engine": engine, "frames": num_frames, "rows": [asdict(row) for row in rows]}
    (folder / "report.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    heading = f"# sprites suite, {num_frames} frames\n\nEngine: {engine}\n\n"
    (folder / "report.md").write_text(heading + as_markdown(rows) + "\n", encoding="utf-8")


def _write_sheet(folder: Path, count: int) -> None:
    """sheet.png: a row per video, 16 frames from all over it."""
    rows = [_sixteen(np.load(folder / f"{index:03d}.npz")["frames"]) for index in range(count)]
    labels = [captions.plain_caption(scene).replace(" over ", "\nover ") for scene in suite_scenes(count)]
    contact_sheet(rows, labels, title="sprites suite").save(folder / "sheet.png")


def _sixteen(frames: Frames) -> Frames:
    """16 frames, evenly spaced from the first to the last."""
    return frames[np.linspace(0, len(frames) - 1, CHUNK).round().astype(int)]


if __name__ == "__main__":
    sys.exit(main())
