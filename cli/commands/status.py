"""`longtake status`: GET /status from the command line, as a live table."""

from __future__ import annotations

import argparse

NAME = "status"
SUMMARY = "what the workers are making, what waits, and how fast it goes"
DESCRIPTION = """\
Shows the workers and what each is making, the queues, the rates of the last minute, and what needs you: pauses, and
work that no worker can take. On a terminal the table stays and is read again until Ctrl-C; a pipe or a file gets one
picture. Where API keys are used it needs one of the scope `admin`."""
EXAMPLES = """\
examples:
  longtake status                    until Ctrl-C
  longtake status --every 10         read every 10 s
  longtake status --once             one picture
  longtake status --json | python -m json.tool
"""
LEAST_SECONDS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_api_arguments, add_json_argument

    parser.add_argument("--once", action="store_true", help="print one picture and end")
    parser.add_argument(
        "--every", type=_seconds, default=2.0, metavar="SECONDS", help="between two reads (default: %(default)g)"
    )
    add_api_arguments(parser)
    add_json_argument(parser)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not LEAST_SECONDS <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from {LEAST_SECONDS:g} to 3600")
    return seconds


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import api_of
    from cli.output.live_status import StatusScreen

    screen = StatusScreen(args.url)
    if args.json or args.once or not screen.interactive:
        with api_of(args) as client:
            status = client.status()
        if args.json:
            print(status.model_dump_json())
        else:
            screen.show(status)
        return 0
    with api_of(args, max_retries=0) as client:  # the table itself says that the API does not answer, and asks again
        screen.follow(client.status, args.every)
    return 0
