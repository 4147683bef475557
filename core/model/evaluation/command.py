"""The evaluation command: `longtake evaluate` calls main(argv).

A suite makes videos with a preset's engine, measures them and writes a table, a chart and pictures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from core.model.arguments import positive_int
from core.model.cores import usable_cores
from core.model.evaluation.suites import ablation, anchor, images, seams, sprites
from core.service.domain.errors import LongtakeError
from core.service.settings import SHIPPED_PRESETS_DIR

_EPILOG = """\
examples:
  longtake evaluate --suite sprites                         50 held-out prompts, first chunks only
  longtake evaluate --suite sprites --frames 240 --processes 2
                                                            the same with long videos: does the scene persist?
  longtake evaluate --suite sprites --preset runs/sprites/preset --out out/mine
  longtake evaluate --suite ablations --work runs/sprites --processes 2
                                                            CAM and APM compared with other conditionings
  longtake evaluate --suite ablations --report              what is finished of that, and what is missing
  longtake evaluate --suite history-noise --work runs/sprites --processes 2
  longtake evaluate --suite seams                           the refiner: how visible are its window borders?
  longtake evaluate --suite anchor                          what can APM know of the anchor frame?
  longtake evaluate --suite images                          sprites-zero and sprites-edit: prompts, edges, instructions

Stop it at any time: finished videos are stored in the output folder, and the same command continues from there.
Hard cuts need PySceneDetect: pip install 'longtake[evaluate]'. What each figure means: docs/evaluation-suites.md.
"""


def build_parser() -> argparse.ArgumentParser:
    """The command's argument parser."""
    parser = argparse.ArgumentParser(
        prog="longtake evaluate",
        description="Measure a preset: do its videos show what the prompt says, and keep it up?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--suite", choices=tuple(_SUITES), required=True, help="which videos are made and measured")
    parser.add_argument("--preset", type=Path, default=SHIPPED_PRESETS_DIR / "sprites", help="folder of the preset")
    parser.add_argument(
        "--prompts",
        type=positive_int,
        help="held-out prompts or scenes"
        " (default: sprites 50, ablations 20, history-noise 10, seams 10, images 20 of each kind, anchor 1000)",
    )
    parser.add_argument(
        "--frames",
        type=positive_int,
        help="length of each video (default: sprites 16, the first chunk; ablations 96; history-noise 240; seams 56)",
    )
    parser.add_argument(
        "--seeds",
        type=positive_int,
        help="ablations and history-noise: trainings of each variant; seams: refinements of each clip (default: 3)",
    )
    parser.add_argument("--out", type=Path, default=Path("out/evaluation"), help="output folder")
    parser.add_argument(
        "--processes",
        type=positive_int,
        default=1,
        help="videos made at the same time, each in its own process (default 1). On a CPU one per core is fastest",
    )
    parser.add_argument("--threads", type=positive_int, help="CPU threads per process (default: cores / processes)")
    for suite in (sprites, ablation, seams):
        suite.add_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 2 for arguments or presets that cannot be used, 130 if interrupted."""
    arguments = build_parser().parse_args(argv)
    arguments.threads = arguments.threads or max(1, usable_cores() // arguments.processes)
    try:
        return _SUITES[arguments.suite](arguments)
    except LongtakeError as error:
        sys.stderr.write(f"longtake evaluate: {error.with_fix}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("longtake evaluate: stopped; the same command continues from here\n")
        return 130


_SUITES: dict[str, Callable[[argparse.Namespace], int]] = {
    "sprites": sprites.main,
    "ablations": ablation.main,
    "history-noise": ablation.main,
    "seams": seams.main,
    "images": images.main,
    "anchor": anchor.main,
}


if __name__ == "__main__":
    sys.exit(main())
