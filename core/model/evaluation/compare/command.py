"""The comparison command: `longtake compare` calls main(argv)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from core.metrics.evaluation.prompts import read_prompts
from core.metrics.video.frames import PUBLISHED_SIZE
from core.model.arguments import positive_int
from core.model.cores import usable_cores
from core.model.evaluation.compare.choice import choose, require_source
from core.model.evaluation.compare.making import SOURCE, Tools, make_all
from core.model.evaluation.compare.measurement import MeasurementOptions, load_measurement
from core.model.evaluation.compare.plan import ComparisonError, Plan
from core.model.evaluation.compare.ports import LoadMeasurement
from core.model.evaluation.compare.prompts import SEED, Prompts, default_prompts, shows_sprites
from core.model.evaluation.compare.published import published_of
from core.model.evaluation.compare.report import markdown
from core.model.evaluation.compare.results import Results, read_results
from core.model.evaluation.compare.workspace import Workspace
from core.model.evaluation.compare.write import FILES, write_report
from core.model.evaluation.generation.progress import progress_bars
from core.model.evaluation.learned.clip_model import DEFAULT_CLIP
from core.model.evaluation.methods.registry import MethodOptions, load_method, method_names
from core.service.admission.catalog import Catalog, PresetFolder
from core.service.domain.errors import LongtakeError
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.schema import DEFAULT_PROFILE, Profile
from core.service.settings import Settings

PAPERS_METHODS = (
    *("streaming_t2v", "streaming_t2v_trial", "cam", "concat", "additive"),
    *("last_frame_trial", "last_frame", "free_noise", "text2video_zero"),
)
"""In the order of the report. The trials, `streaming_t2v_trial` to `last_frame_trial`, have one training budget."""
_TRIALS = Path("out/evaluation/ablations")
"""Where `longtake evaluate --suite ablations` puts the trials of each budget by default."""
_EPILOG = """\
examples:
  longtake compare                                          the paper's methods, 50 prompts, 240 frames
  longtake compare --work runs/sprites --processes 2        with the trials, whose weights `longtake evaluate
                                                            --suite ablations --variants concat add cam cam-apm
                                                            last-frame` trains
  longtake compare --methods streaming_t2v free_noise --prompts prompts.txt --frames 48
  longtake compare --preset modelscope --profile reference --flow raft
                                                            by the paper's protocol, with its prompts and weights
                                                            and on a GPU; not enhanced to 720x720
  longtake compare --report                                 what is finished, and what is not

Stop it at any time: finished videos are stored in the output folder, and the same command goes on from there. Open
DIR/compare.html: verdicts, Table 1 beside the published one, plots, and the videos side by side.
What is compared how: docs/evaluation.md.
exit codes: 0 all videos are finished; 1 some failed, and are named; 2 the arguments, the preset or a method cannot be
used; 130 stopped by Ctrl-C.
"""


def build_parser() -> argparse.ArgumentParser:
    """The command's argument parser."""
    parser = argparse.ArgumentParser(
        prog="longtake compare",
        description="Make long videos of the same prompts by several methods, and compare them by the protocol of"
        " StreamingT2V's paper.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", help="only these (default: all of the paper's that are installed)"
    )
    parser.add_argument("--preset", default="sprites", help="on whose networks the methods work (default: %(default)s)")
    parser.add_argument(
        "--work",
        type=Path,
        metavar="FOLDER",
        help="working folder of `longtake train`, for methods of which weights are trained",
    )
    parser.add_argument(
        "--trials",
        type=Path,
        metavar="FOLDER",
        help="trials of one budget that `longtake evaluate --suite ablations` trained",
    )
    parser.add_argument(
        "--profile",
        choices=get_args(Profile),
        default=DEFAULT_PROFILE,
        help="how presets sample: `reference` as published (default: %(default)s)",
    )
    parser.add_argument(
        "--prompts", type=Path, metavar="FILE", help="one per line (default: 50 that the preset can show)"
    )
    parser.add_argument("--frames", type=_num_frames, default=240, help="length of each video (default: %(default)s)")
    parser.add_argument(
        "--seed",
        type=int,
        default=SEED,
        help="of the first prompt; the others have the next ones (default: %(default)s)",
    )
    parser.add_argument(
        "--flow",
        choices=("dis", "raft"),
        default="dis",
        help="optical flow (default: %(default)s; raft is the paper's)",
    )
    parser.add_argument(
        "--flow-size",
        type=positive_int,
        default=PUBLISHED_SIZE,
        metavar="PIXELS",
        help="side of the frames whose flow is measured (default: %(default)s, the paper's)",
    )
    parser.add_argument(
        "--clip",
        metavar="MODEL",
        help="CLIP model, a folder or ORG/NAME@REVISION (default: none for the sprites world, which has its own score;"
        f" else {DEFAULT_CLIP.partition('@')[0]})",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/comparison"), metavar="DIR", help="output folder (default: %(default)s)"
    )
    parser.add_argument(
        "--processes",
        type=positive_int,
        default=1,
        help="videos made at the same time, each in its own process (default: 1). On a CPU one per core is fastest",
    )
    parser.add_argument("--threads", type=positive_int, help="CPU threads per process (default: cores / processes)")
    parser.add_argument(
        "--report", action="store_true", help="make nothing: write the report of what is finished in --out"
    )
    return parser


_OF_REPORT = ("report", "out", "threads")
"""Options that --report may have; threads change no figure."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    arguments.threads = arguments.threads or max(1, usable_cores() // arguments.processes)
    try:
        return _run(arguments)
    except LongtakeError as error:
        sys.stderr.write(f"longtake compare: {error.with_fix}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("longtake compare: stopped; the same command goes on from here\n")
        return 130


def _run(arguments: argparse.Namespace) -> int:
    workspace = Workspace(arguments.out)
    if arguments.report:
        _require_nothing_else(arguments)
        plan = Plan.read(arguments.out)
    else:
        plan = _compare(arguments, workspace)
    return _report(read_results(plan, workspace), workspace)


def _compare(arguments: argparse.Namespace, workspace: Workspace) -> Plan:
    """Make and measure all videos, with progress bars. What stands in the way is said first."""
    with workspace.alone():
        settings = Settings(torch_threads=arguments.threads)
        preset = Catalog(settings).get(arguments.preset)
        prompts = _prompts(arguments.prompts, preset)
        _require_same_videos(arguments, prompts.prompts, workspace)
        options = MethodOptions(
            settings, arguments.preset, arguments.work, _trials(arguments), profile=arguments.profile
        )
        load = partial(load_method, options=options)
        chosen = choose(arguments.methods, _default_methods(options, preset), load)
        require_source(chosen, load, SOURCE)
        measurement = partial(load_measurement, _measurement_options(arguments, preset))
        plan = Plan(
            arguments.preset,
            chosen.methods,
            prompts.prompts,
            prompts.source,
            arguments.frames,
            arguments.seed,
            chosen.left_out,
            _notes_of(measurement, arguments.clip),
            chosen.fingerprints,
            arguments.profile,
        )
        for line in [*(f"not compared: {name}: {why}" for name, why in plan.left_out.items()), *plan.notes]:
            sys.stderr.write(f"longtake compare: {line}\n")
        plan.write(workspace.folder)
        with progress_bars() as add_bar:
            make_all(plan, Tools(workspace, load, measurement), arguments.processes, add_bar)
    return plan


def _notes_of(load: LoadMeasurement, named_clip: str | None) -> Sequence[str]:
    """What is not measured. Its networks are not kept: each process that measures loads its own.

    Raises ComparisonError if a CLIP model that the user named cannot be used.
    """
    loaded = load()
    if named_clip is not None and "clip" not in loaded.key:
        raise ComparisonError(f"--clip {named_clip} cannot be used: {' '.join(loaded.notes)}")
    return loaded.notes


def _require_nothing_else(arguments: argparse.Namespace) -> None:
    """With --report the stored plan says everything."""
    defaults = build_parser()
    given = [
        name
        for name, value in vars(arguments).items()
        if value != defaults.get_default(name) and name not in _OF_REPORT
    ]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ComparisonError(f"--report shows what is in --out as it was made, without {options}", fix="leave it out")


def _require_same_videos(arguments: argparse.Namespace, prompts: Sequence[str], workspace: Workspace) -> None:
    """More or fewer prompts and other methods keep the videos that are finished. Anything else would make them anew."""
    requests = workspace.requests()
    if not requests:
        return
    try:
        stored = Plan.read(workspace.folder)
    except ComparisonError:
        return  # of another version: nothing of it counts
    others = {
        "--preset": stored.preset != arguments.preset,
        "--profile": stored.profile != arguments.profile,
        "--frames": any(made["frames"] != arguments.frames for made in requests),
        "--seed": any(made["seed"] != arguments.seed + made["index"] for made in requests),
        "--prompts": any(made["prompt"] != prompts[made["index"]] for made in requests if made["index"] < len(prompts)),
    }
    if differing := [option for option, differs in others.items() if differs]:
        raise ComparisonError(
            f"{workspace.folder} has the videos of another comparison, with another {', '.join(differing)}",
            fix="name another folder with --out, or remove this one",
        )


def _report(results: Results, workspace: Workspace) -> int:
    if not results.num_finished and not any(method.failures for method in results.methods.values()):
        raise ComparisonError(
            f"nothing is finished in {workspace.folder}", fix="run the comparison first, without --report"
        )
    write_report(results, workspace)
    sys.stdout.write(f"{markdown(results)}\n\n{workspace.folder}/{', '.join(FILES)}\n")
    return 1 if any(method.failures for method in results.methods.values()) else 0


def _default_methods(options: MethodOptions, preset: PresetFolder) -> list[str]:
    """The paper's methods on the preset's networks, and the installed presets of its Table 1, which show what any
    prompt says: they are left out in the sprites world."""
    if shows_sprites(preset.preset):
        return list(PAPERS_METHODS)
    return [*PAPERS_METHODS, *(name for name in method_names(options) if published_of(name, "table_1", "mawe"))]


def _trials(arguments: argparse.Namespace) -> Path | None:
    """The folder of trials: the one that is named, or the only one in the default place."""
    if arguments.trials is not None or arguments.work is None:
        return arguments.trials
    found = sorted(_TRIALS.glob("*-steps-*-processes"))
    if len(found) > 1:
        names = ", ".join(str(folder) for folder in found)
        raise ComparisonError("there are trials of several budgets", fix=f"name one with --trials: {names}")
    return found[0] if found else None


def _prompts(file: Path | None, preset: PresetFolder) -> Prompts:
    """Raises PromptsUnreadable."""
    if file is None:
        return default_prompts(preset.preset)
    prompts = [prompt for prompt in read_prompts(file).in_order if prompt]
    if not prompts:
        raise ComparisonError(
            f"the prompts of {file} are for videos by name", fix="give a text file with one prompt per line"
        )
    return Prompts(prompts, f"{len(prompts)} of {file.name}")


def _measurement_options(arguments: argparse.Namespace, preset: PresetFolder) -> MeasurementOptions:
    """The sprites world has the preset's own towers, which stand in CLIP's place."""
    is_sprites = shows_sprites(preset.preset)
    return MeasurementOptions(
        flow=arguments.flow,
        size=arguments.flow_size,
        clip=arguments.clip or (None if is_sprites else DEFAULT_CLIP),
        tower=preset.path if is_sprites else None,
        lpips=True,
        threads=arguments.threads,
    )


def _num_frames(text: str) -> int:
    """Raises ArgumentTypeError."""
    number = positive_int(text)
    if number < CHUNK_FRAMES:
        raise argparse.ArgumentTypeError(f"must be at least {CHUNK_FRAMES}, the first chunk, not {number}")
    return number


if __name__ == "__main__":
    sys.exit(main())
