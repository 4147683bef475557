"""`longtake keys`: API keys of a running service, from the command line."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from cli.commands.priorities import PRIORITIES

if TYPE_CHECKING:
    from client import Key, KeyLimits, NewKey

NAME = "keys"
SUMMARY = "create, list, limit, rotate and revoke API keys"
DESCRIPTION = """\
Manages the API keys of a service that was started with LONGTAKE_ADMIN_KEY. Needs a key with the scope `admin`, such as
that one, in LONGTAKE_KEY or --key. The text of a new key is shown once; only a hash of it is stored."""
EXAMPLES = """\
examples:
  export LONGTAKE_KEY=...                               the operator's key
  longtake keys create "Example Ltd" --frames-per-day 100000 --unfinished-jobs 20
  longtake keys create "dashboard" --scope read
  longtake keys list
  longtake keys limits key_k3mq5w7zr2ay4n6c --frames-per-day 200000 --unfinished-jobs none
  longtake keys limits key_k3mq5w7zr2ay4n6c --max-priority high --share 2
  longtake keys rotate key_k3mq5w7zr2ay4n6c --grace-seconds 3600
  longtake keys revoke key_k3mq5w7zr2ay4n6c
"""
LIMITS = {
    "requests_per_minute": "requests per minute",
    "unfinished_jobs": "jobs that are queued or running at a time",
    "frames_per_day": "frames of new videos per day (UTC)",
    "inference_steps": "denoising steps of each kind",
    "frames": "length of a video in frames",
    "stored_bytes": "bytes of all its videos and uploads",
}
"""Whole numbers."""
SCHEDULING = ("max_priority", "share")
"""Limits that say when its jobs are made."""
NO_LIMIT = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="<action>", required=True)
    create = _action(actions.add_parser, "create", "make a key; its text is shown once")
    create.add_argument("name", help="for people: whose key it is")
    create.add_argument("--scope", choices=("read", "jobs", "admin"), default="jobs", help="(default: %(default)s)")
    all_keys = _action(actions.add_parser, "list", "list all keys, revoked ones too")
    limits = _action(actions.add_parser, "limits", "show a key's limits and what is used of them, or change them")
    rotate = _action(actions.add_parser, "rotate", "give a key a new text; the old one stays valid for a while")
    revoke = _action(actions.add_parser, "revoke", "refuse a key from now on")
    for parser_of_a_key in (limits, rotate, revoke):
        parser_of_a_key.add_argument("id", help="id of the key: key_...")
    rotate.add_argument(
        "--grace-seconds",
        type=int,
        default=86400,
        metavar="N",
        help="how long the old one stays valid (default: %(default)s)",
    )
    rotate.add_argument("--webhook-secret", action="store_true", help="rotate its webhook secret instead")
    for parser_with_limits in (create, limits):
        _add_limits(parser_with_limits)
    for each in (create, all_keys, limits, rotate, revoke):
        _add_common(each)


def _action(add_parser: Callable[..., argparse.ArgumentParser], name: str, summary: str) -> argparse.ArgumentParser:
    """A parser whose help says what the action does and shows the examples that have it."""
    head, *examples = EXAMPLES.splitlines()
    epilog = "\n".join([head, *(line for line in examples if f" keys {name}" in line)])
    summary_line = f"{summary[0].upper()}{summary[1:]}."
    raw = argparse.RawDescriptionHelpFormatter
    return add_parser(name, help=summary, description=summary_line, epilog=epilog, formatter_class=raw)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "limits", f"on top of those of the service: a whole number each; {NO_LIMIT} removes one"
    )
    for name, summary in LIMITS.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=_limit, metavar="N", help=summary)
    scheduling = parser.add_argument_group(
        "scheduling", f"whose jobs a free worker takes first; {NO_LIMIT} brings back the default"
    )
    scheduling.add_argument(
        "--max-priority",
        choices=(*PRIORITIES, NO_LIMIT),
        help="highest priority of its jobs (default: normal; high with the scope admin)",
    )
    scheduling.add_argument(
        "--share",
        type=_share,
        metavar="X",
        help="its weight while several keys have work, 0.01 to 100: with 2 it gets twice the worker time of a key with"
        " 1 (default: 1)",
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_api_arguments, add_json_argument

    add_api_arguments(parser)
    add_json_argument(parser)


def _limit(text: str) -> int | str:
    if text != NO_LIMIT and not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor {NO_LIMIT!r}")
    return text if text == NO_LIMIT else int(text)


def _share(text: str) -> float | str:
    if text == NO_LIMIT:
        return text
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0.01 <= share <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number from 0.01 to 100 nor {NO_LIMIT!r}")
    return share


def limits_of(args: argparse.Namespace) -> KeyLimits:
    """The limits that are given; None removes one."""
    given = {name: getattr(args, name) for name in (*LIMITS, *SCHEDULING) if getattr(args, name) is not None}
    return cast("KeyLimits", {name: None if value == NO_LIMIT else value for name, value in given.items()})


def run(args: argparse.Namespace) -> int:
    return {"create": _create, "list": _list, "limits": _limits, "rotate": _rotate, "revoke": _revoke}[args.action](
        args
    )


def _create(args: argparse.Namespace) -> int:
    from cli.commands.api import api_of

    with api_of(args) as client:
        return _print_new(client.keys.create(args.name, args.scope, limits_of(args) or None), as_json=args.json)


def _rotate(args: argparse.Namespace) -> int:
    from cli.commands.api import api_of

    with api_of(args) as client:
        if not args.webhook_secret:
            return _print_new(client.keys.rotate(args.id, args.grace_seconds), as_json=args.json)
        rotated = client.keys.rotate_webhook_secret(args.id, args.grace_seconds)
    print(rotated.model_dump_json(exclude_unset=True) if args.json else rotated.webhook_secret)
    return 0


def _print_new(key: NewKey, *, as_json: bool) -> int:
    """Only the text goes to stdout, so that it can be stored without passing the screen."""
    if as_json:
        print(key.model_dump_json(exclude_unset=True))
        return 0
    print(key.key)
    print(f"{key.id}: keep the text above; it is not shown again", file=sys.stderr)
    if key.webhook_secret is not None:
        print(f"its webhooks are signed with {key.webhook_secret}", file=sys.stderr)
    return 0


def _list(args: argparse.Namespace) -> int:
    import json

    from cli.commands.api import api_of

    with api_of(args) as client:
        keys = client.keys.list()
    if args.json:
        print(json.dumps([key.model_dump(mode="json", exclude_unset=True) for key in keys]))
        return 0
    if not keys:
        print("no keys", file=sys.stderr)
    for key in keys:
        print(key_line(key))
    return 0


def key_line(key: Key) -> str:
    """A key in one line."""
    state = "revoked" if key.revoked_at else "valid"
    limits = ", ".join(f"{name} {value}" for name, value in key.limits.items() if value is not None)
    return f"{key.id}  {key.scope:<5}  {state:<7}  {key.name}{f'  ({limits})' if limits else ''}"


def _limits(args: argparse.Namespace) -> int:
    from cli.commands.api import api_of

    changes = limits_of(args)
    with api_of(args) as client:
        key = client.keys.change(args.id, limits=changes) if changes else client.keys.get(args.id)
    print(key.model_dump_json(exclude_unset=True) if args.json else "\n".join(limit_lines(key)))
    return 0


def limit_lines(key: Key) -> list[str]:
    """Each limit, and what is used of it."""
    used = {f"{name} used": value for name, value in (key.usage or {}).items()}
    defaults = {"max_priority": "high" if key.scope == "admin" else "normal", "share": 1}
    rows = {**{name: key.limits.get(name) for name in (*LIMITS, *SCHEDULING)}, **used}
    return [f"{name:<22} {defaults.get(name, 'no limit') if value is None else value}" for name, value in rows.items()]


def _revoke(args: argparse.Namespace) -> int:
    from cli.commands.api import api_of

    with api_of(args) as client:
        client.keys.revoke(args.id)
    print('{"revoked": true}' if args.json else "revoked")
    return 0
