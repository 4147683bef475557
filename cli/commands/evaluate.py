"""`longtake evaluate`: measures any videos and writes a report; with --suite it makes a preset's videos first."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli.commands.delegate import delegate
from core.service.domain.errors import LongtakeError, shortened

if TYPE_CHECKING:
    from core.metrics.evaluation.inputs import Source
    from core.metrics.evaluation.instruments import Instruments
    from core.metrics.evaluation.results import Problem, Results
    from core.metrics.evaluation.run import Measurement, Video
    from core.metrics.evaluation.store import Store
    from core.metrics.video.seams import Borders

NAME = "evaluate"
SUMMARY = "measure videos (files, folders, jobs), or a preset by its suites, and write a report"
DESCRIPTION = """\
Measures any videos: files, folders of videos, or jobs of a running service by their ids (refined, if they were). Writes
DIR/report.html (one page with plots, pictures and the videos), DIR/results.json and DIR/results.md: hard cuts, motion
and warp error (MAWE in its three definitions), seams, drift, repeated frames, each with its mean over the videos and a
95 % interval. No network and no GPU are needed, unless you ask for --clip, --tower, --lpips or --flow raft.

With --suite it makes videos of a preset and measures those: `longtake evaluate --suite sprites --help`.
"""
EXAMPLES = """\
examples:
  longtake evaluate clips/                                     every video in a folder; open out/evaluation/report.html
  longtake evaluate a.mp4 b.mp4 --out out/ab --processes 2     two files at the same time
  longtake evaluate job_k3mq5w7zr2ay4n6c5bqd --variant preview a job of the service, as generated instead of refined
  longtake evaluate clips/ --prompts prompts.txt --clip openai/clip-vit-large-patch14
                                                               do they show what their prompts say? (CLIP score)
  longtake evaluate clips/ --strict                            refuse everything if anything is wrong with an input
  longtake evaluate --suite sprites                            make and measure videos of the preset sprites

--prompts FILE: a line for each file in the order of the report; or .json {"a.mp4": "a red circle"}; or .jsonl or .csv
with `file` and `prompt`. Jobs have their own prompts.
Stop it at any time: finished videos are stored in DIR/measured, and the same command goes on from there.
Of a folder, files are measured that end as videos do: 3gp avi flv gif m2ts m4v mkv mov mp4 mpeg mpg ogv ts webm wmv.
What is wrong with an input (unreadable, one frame, twice the same, no prompt, ...) is said, skipped where it cannot be
measured, and listed in the report. What each value means: docs/evaluation.md.
exit codes: 0 all videos were measured; 1 some were skipped, or it failed; 2 the arguments cannot be used, or --strict
refused them: nothing was measured; 130 stopped by Ctrl-C.
"""

DEFAULT_OUT = Path("out/evaluation")
MEGABYTE = 10**6
_MOST_OF_A_LINE = 1000


class _Refused(LongtakeError):
    """The arguments cannot be used."""

    code = "arguments_refused"


def names_suite(argv: Sequence[str]) -> bool:
    """Whether these arguments of `longtake` are for the suites of core.model.evaluation."""
    return list(argv[:1]) == [NAME] and any(word == "--suite" or word.startswith("--suite=") for word in argv)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_api_arguments
    from core.model.arguments import positive_int

    parser.add_argument("videos", nargs="+", metavar="FILE|FOLDER|JOB_ID", help="what is measured")
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="what the videos should show (see below)")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help="output folder (%(default)s)")
    parser.add_argument(
        "--processes", type=positive_int, default=1, metavar="N",
        help="videos measured at the same time (default 1); one per core is fastest",
    )  # fmt: skip
    parser.add_argument(
        "--strict", action="store_true", help="refuse, before anything is measured, if anything is wrong with an input"
    )
    parser.add_argument(
        "--variant", choices=("preview", "refined"), help="of jobs (default: refined, where a job was refined)"
    )
    parser.add_argument(
        "--size", type=positive_int, default=720, metavar="PIXELS",
        help="motion is measured at PIXELS x PIXELS (default 720, as published); values of other sizes do not compare",
    )  # fmt: skip
    parser.add_argument(
        "--windows", type=_windows, metavar="FIRST[,LATER]",
        help="the files are made of windows of FIRST frames, then of LATER new ones (default: as FIRST): gives the seam"
        " score; 16,8 for StreamingT2V; of jobs it is known",
    )  # fmt: skip
    parser.add_argument(
        "--embed", type=_megabytes, default=3.0, metavar="MB",
        help="videos up to so many MB are within report.html, 40 MB in all; others are copied beside it"
        " (default 3; 0: all are copied)",
    )  # fmt: skip
    networks = parser.add_argument_group("metrics with networks (pip install 'longtake[model]')")
    networks.add_argument("--clip", metavar="MODEL", help="CLIP score: a folder or a Hub name, such as ORG/NAME")
    networks.add_argument("--tower", metavar="PRESET", help="a preset's own text and image towers, by name or folder")
    networks.add_argument("--lpips", action="store_true", help="LPIPS distance to the first frame")
    networks.add_argument(
        "--flow", choices=("dis", "raft"), default="dis", help="optical flow: OpenCV's DIS (default), or RAFT-large"
    )
    parser.add_argument("--suite", metavar="NAME", help="make and measure videos of a preset instead: see above")
    add_api_arguments(parser)


def _windows(text: str) -> Borders:
    from core.metrics.video.seams import Borders

    try:
        first, _, later = text.partition(",")
        return Borders(int(first), int(later or first))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a number of frames from 1, or two such as 16,8, not {text!r}"
        ) from None


def _megabytes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1000:
        raise argparse.ArgumentTypeError(f"must be a number of megabytes from 0, not {text!r}")
    return number


def run(args: argparse.Namespace) -> int:
    if args.accepts_unknown:
        return delegate("evaluation", "core.model.evaluation.command", "model")(args)
    try:
        return _evaluate(args)
    except KeyboardInterrupt:
        where = args.out / "measured"
        print(f"longtake evaluate: stopped; what is finished is in {where}, and the same command goes on from there",
              file=sys.stderr)  # fmt: skip
        return 130
    except _Refused as error:
        print(f"longtake evaluate: {error.with_fix}", file=sys.stderr)
        return 2


def _evaluate(args: argparse.Namespace) -> int:
    from core.folder_lock import alone_in

    instruments, problems = _instruments(args)
    _make_folder(args.out)
    with alone_in(args.out) as is_alone:
        if not is_alone:
            fix = "wait for it, or name another folder with --out"
            raise _Refused(f"another `longtake evaluate` is at work in {args.out}", fix=fix)
        return _evaluate_alone(args, instruments, problems)


def _evaluate_alone(args: argparse.Namespace, instruments: Instruments, problems: list[Problem]) -> int:
    from core.metrics.evaluation.run import results_of
    from core.metrics.evaluation.store import Store

    store = Store(args.out / "measured")
    store.clean()
    sources, of_sources = _sources(args)
    videos, of_videos = _look(sources, instruments, store, args)
    problems += [*of_sources, *of_videos]
    _tell(problems)
    if args.strict and any(problem.kind != "left_out" for problem in problems):
        raise _Refused("--strict: nothing was measured, for the reasons above")
    if not videos:
        raise _Refused("there is no video that can be measured")
    measurements, failed = _measure(videos, instruments, store, args)
    _tell(failed)
    problems += failed
    if not measurements:
        raise _Refused("no video could be measured")
    results = results_of(measurements, problems, instruments)
    _report(results, measurements, instruments, store, args)
    return 1 if results.num_skipped else 0


def _make_folder(folder: Path) -> None:
    """Before anything is measured, as hours of work would have no place to go."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _Refused(f"--out: the folder {folder} cannot be written to: {error.strerror}") from error


def _instruments(args: argparse.Namespace) -> tuple[Instruments, list[Problem]]:
    """What measures the videos, and which networks were asked for and could not be loaded."""
    from cli.commands.model_extra import model_extra
    from core.metrics.evaluation.cheap import CheapInstruments
    from core.metrics.evaluation.results import Problem
    from core.service.domain.errors import PresetError

    if not (args.clip or args.tower or args.lpips or args.flow == "raft"):
        return CheapInstruments(args.size), []
    tower = _preset_folder(args.tower) if args.tower else None
    with model_extra("measuring with networks"):
        from core.model.evaluation.instruments import LearnedInstruments
    learned = LearnedInstruments(args.size, args.clip, tower, args.lpips, args.flow == "raft")
    try:
        learned.load()
    except PresetError as error:
        raise _Refused(f"--flow raft: {error.message}", fix=error.fix) from error
    left_out = [Problem(input="networks", kind="no_network", text=note, is_skipped=False) for note in learned.left_out]
    return learned, left_out


def _preset_folder(text: str) -> Path:
    """Of a preset that is given by its folder or its name."""
    from core.service.admission.catalog import Catalog
    from core.service.settings import Settings

    if Path(text).is_dir():
        return Path(text)
    catalog = Catalog(Settings())
    if text in catalog.names():
        return catalog.get(text).path
    fix = f"presets: {', '.join(catalog.names())}"
    raise _Refused(f"--tower: there is no folder {shortened(text)}, and no preset of this name", fix=fix)


def _sources(args: argparse.Namespace) -> tuple[list[Source], list[Problem]]:
    """The files to measure, with their prompts; jobs are downloaded."""
    from cli.commands.evaluated_jobs import Jobs
    from core.metrics.evaluation.inputs import named, usable, without_repeated_paths
    from core.metrics.evaluation.prompts import PromptsUnreadable, give_prompts, read_prompts
    from core.service.domain.ids import is_job_id

    try:
        prompts = read_prompts(args.prompts) if args.prompts else None
    except PromptsUnreadable as error:
        raise _Refused(f"--prompts: {error.message}") from error
    sources: list[Source] = []
    problems: list[Problem] = []
    with Jobs(args) as jobs:
        for text in args.videos:
            if is_job_id(text) and not Path(text).exists():
                found, wrong = jobs.video_of(text)
            else:
                found, wrong = _files(Path(text), args.windows)
            sources += found
            problems += wrong
    if prompts is not None:
        sources, of_prompts = give_prompts(sources, prompts)
        problems += of_prompts
    sources, repeated = without_repeated_paths(usable(sources))
    return named(sources), [*problems, *repeated]


def _files(path: Path, borders: Borders | None) -> tuple[list[Source], list[Problem]]:
    """The file or the folder's videos. A file that cannot be measured is there, too: it has its line of prompts."""
    from core.metrics.evaluation.inputs import Source, find_files, readable

    files, problems = find_files(path)
    if not files and problems[0].kind != "no_video":
        return [Source(readable(path), path, is_usable=False)], problems
    return [Source(readable(file), file, borders=borders) for file in files], problems


def _look(
    sources: Sequence[Source], instruments: Instruments, store: Store, args: argparse.Namespace
) -> tuple[list[Video], list[Problem]]:
    """The videos that can be measured, and what is wrong with them and with the others."""
    from cli.output.count_meter import count_meter
    from core.metrics.evaluation.checks import cut_off, unequal, variable_rates, without_duplicates, without_prompts
    from core.metrics.evaluation.run import look_at_all

    with count_meter(sys.stderr, "looking", "videos", len(sources)) as advance:
        videos, problems = look_at_all(sources, store, args.processes, advance)
    videos, duplicates = without_duplicates(videos)
    problems = [*problems, *duplicates, *variable_rates(videos), *cut_off(videos), *unequal(videos)]
    if args.prompts or instruments.reads_prompts:
        problems += without_prompts(videos)
    return videos, problems


def _measure(
    videos: Sequence[Video], instruments: Instruments, store: Store, args: argparse.Namespace
) -> tuple[list[Measurement], list[Problem]]:
    from cli.output.count_meter import count_meter
    from core.metrics.evaluation.run import measure_all
    from core.model.cores import usable_cores

    processes = min(args.processes, len(videos))
    threads = max(1, usable_cores() // processes)
    total = sum(video.file.num_frames for video in videos)
    with count_meter(sys.stderr, "measuring", "frames", total) as advance:
        return measure_all(videos, instruments, store, processes, threads, advance)


def _report(
    results: Results,
    measurements: Sequence[Measurement],
    instruments: Instruments,
    store: Store,
    args: argparse.Namespace,
) -> None:
    """The reports; the means and the paths are printed."""
    from core.metrics.reports.markdown import means_table
    from core.metrics.reports.write import HTML_NAME, JSON_NAME, MARKDOWN_NAME, write_reports

    videos = [measurement.video for measurement in measurements]
    pictures = [store.pictures(measurement.key) for measurement in measurements]
    write_reports(results, instruments, videos, pictures, args.out, int(args.embed * MEGABYTE))
    print(means_table(results, instruments.facts))
    print()
    for name in (HTML_NAME, MARKDOWN_NAME, JSON_NAME):
        print(args.out / name)


def _tell(problems: Sequence[Problem]) -> None:
    for problem in problems:
        beginning = "skipped" if problem.is_skipped else "note"
        print(shortened(f"{beginning}: {problem.input}: {problem.text}", _MOST_OF_A_LINE), file=sys.stderr)
