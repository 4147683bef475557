"""`longtake list`: GET /jobs from the command line."""

from __future__ import annotations

import argparse
import sys

NAME = "list"
SUMMARY = "list jobs, newest first"
DESCRIPTION = """\
Lists the newest jobs: id, status, progress and prompt. With API keys each key has its own jobs."""
EXAMPLES = """\
examples:
  longtake list
  longtake list --status running
  longtake list --limit 100 --json | python -m json.tool
"""
STATUSES = ("queued", "running", "canceling", "finalizing", "succeeded", "failed", "canceled", "expired")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_api_arguments, add_json_argument

    parser.add_argument(
        "--status", choices=STATUSES, metavar="STATUS", help=f"only jobs that are {', '.join(STATUSES)}"
    )
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="at most so many, up to 100 (default: %(default)s)"
    )
    parser.add_argument("--cursor", help="go on where a list ended, which printed it")
    parser.add_argument("--owner", help="only jobs of the API key with this id; for the operator")
    add_api_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import api_of
    from cli.output.job_lines import list_line

    with api_of(args) as client:
        page = client.jobs.page(args.status, args.limit, args.cursor, owner=args.owner)
    if args.json:
        print(page.model_dump_json())
        return 0
    if not page.jobs:
        print("no such jobs" if args.status or args.owner or args.cursor else "no jobs yet", file=sys.stderr)
    for job in page.jobs:
        print(list_line(job))
    if page.next_cursor:
        print(f"there are more: --cursor {page.next_cursor}", file=sys.stderr)
    return 0
