"""`longtake`: the command line.

Errors become exit codes here. A command's module only declares its arguments when it is imported; what it needs to
run (HTTP, Redis, models) is imported when it runs, so that `longtake --help` is quick.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence

from cli.commands import (
    branch,
    cancel,
    compare,
    completion,
    convert,
    delete,
    delivery,
    demo,
    download,
    evaluate,
    extend,
    gc,
    get,
    health,
    keys,
    list_jobs,
    metrics,
    models,
    pause,
    pull,
    resume,
    retry,
    status,
    steer,
    submit,
    train,
    up,
    watch,
    worker,
)
from core.service.domain.errors import ConversionError, LongtakeError

COMMANDS = (
    *(demo, up, submit, watch, list_jobs, get, metrics, download, steer, extend, branch, retry, cancel, delete, keys),
    *(models, worker, status, delivery, pause, resume, pull, convert, train, evaluate, compare, gc, health, completion),
)
DELEGATING = (train, compare)
"""Commands that pass all arguments on to a program of core.model, --help included."""

BROKEN_PIPE = 141
"""What shells report of a command that SIGPIPE ended."""

EPILOG = """\
start here:
  longtake demo                             the whole service once: a prompt becomes out/<job id>.mp4
  longtake up                               the same service, kept running on http://127.0.0.1:8000
  longtake submit "a red circle moving left over a striped background" --frames 48 --watch

`longtake <command> --help` explains a command and gives examples.
"""


_FAULTS_OF_FOLDERS = frozenset(
    {errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.EPERM, errno.EROFS}
)
"""What a user can mend who is told the name: permissions, files where folders should be, quotas."""


def build_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of all commands. `argv`: `evaluate` passes its arguments on if they name a suite."""
    parser = argparse.ArgumentParser(
        prog="longtake",
        description="Long videos from text, served while they are still being made.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", metavar="<command>", required=True)
    delegating = (*DELEGATING, evaluate) if evaluate.names_suite(argv) else DELEGATING
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.NAME,
            help=command.SUMMARY,
            description=command.DESCRIPTION,
            epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=command not in delegating,
            allow_abbrev=False,
        )
        subparser.set_defaults(run=command.run, accepts_unknown=command in delegating)
        if command not in delegating:
            command.add_arguments(subparser)
    return parser


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Arguments of one command; `rest` has those that the command passes on to another program."""
    parser = build_parser(argv)
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions (`longtake completion`)
        import argcomplete

        argcomplete.autocomplete(parser)
    args, rest = parser.parse_known_args(argv)
    if rest and not args.accepts_unknown:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    return run_command(parse_args(sys.argv[1:] if argv is None else argv))


def run_command(args: argparse.Namespace) -> int:
    """Run the chosen command. A LongtakeError, a full disk or a folder that cannot be used becomes one sentence on
    stderr and exit code 1."""
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except ConversionError as error:
        # The message can be a list of weights, one per line; scripts read the code.
        print(f"longtake: {error.code}: {error.message}" + (f"\n({error.fix})" if error.fix else ""), file=sys.stderr)
        return 1
    except LongtakeError as error:
        return _refuse(error.with_fix)
    except BrokenPipeError:  # `longtake list | head`: what was not read must not be flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _refuse(f"the disk is full: {error.filename or 'a file'} could not be written")
        if error.filename is None or error.errno not in _FAULTS_OF_FOLDERS:
            raise
        return _refuse(f"{os.fsdecode(error.filename)}: {error.strerror}")
    except KeyboardInterrupt:
        return 130


def _refuse(sentence: str) -> int:
    print(f"longtake: {' '.join(sentence.split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
