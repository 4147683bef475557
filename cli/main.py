"""`longtake`: the command line.

Knows the commands and how errors leave the process. A command's module only declares its arguments when it is
imported; what it needs to run (HTTP, Redis, models) is imported when it runs, so that `longtake --help` is quick.
"""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence

from cli.commands import convert, demo, evaluate, gc, health, models, pull, submit, train, up, watch, worker
from core.service.domain.errors import ConversionError, LongtakeError

COMMANDS = (demo, up, submit, watch, models, worker, pull, convert, train, evaluate, gc, health)
PASSES_ON = (train, evaluate)
"""Commands whose arguments belong to the model half: these explain themselves there."""

EPILOG = """\
start here:
  longtake demo                             the whole service once: a prompt becomes out/<job id>.mp4
  longtake up                               the same service, kept running on http://127.0.0.1:8000
  longtake submit "a red circle moving left over a striped background" --frames 48 --watch

`longtake <command> --help` explains a command and gives examples.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="longtake",
        description="Long videos from text, served while they are still being made.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", metavar="<command>", required=True)
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.NAME,
            help=command.SUMMARY,
            description=command.DESCRIPTION,
            epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=command not in PASSES_ON,
        )
        subparser.set_defaults(run=command.run, passes_on_unknown=command in PASSES_ON)
        command.add_arguments(subparser)
    return parser


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Arguments of one command; `rest` holds what a command passes on to another program."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if rest and not args.passes_on_unknown:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    return run_command(parse_args(sys.argv[1:] if argv is None else argv))


def run_command(args: argparse.Namespace) -> int:
    """Errors that a person can act on become one sentence on stderr and exit code 1."""
    try:
        return int(args.run(args))
    except ConversionError as error:
        # Its list of weights keeps its lines; its code tells scripts what happened.
        print(f"longtake: {error.code}: {error.message}" + (f"\n({error.fix})" if error.fix else ""), file=sys.stderr)
        return 1
    except LongtakeError as error:
        return _refuse(error.with_fix)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return _refuse(f"the disk is full: {error.filename or 'a file'} could not be written")
    except KeyboardInterrupt:
        return 130


def _refuse(sentence: str) -> int:
    print(f"longtake: {' '.join(sentence.split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
