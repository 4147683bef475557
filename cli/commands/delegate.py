"""Commands that belong to the model half: every argument is passed on to a program there, which explains itself."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """None here: every argument is passed on."""
    del parser


def delegate(what: str, module: str, extras: str, *later: str) -> Callable[[argparse.Namespace], int]:
    """Runs `main` of a module of core.model, which needs these extras of this project. `what` names it for people.

    `later`: packages that it imports only once it is at work, and that must be there before it begins.
    """

    def run(args: argparse.Namespace) -> int:
        from cli.commands.model_extra import needing_model_half

        with needing_model_half(what, extras):
            program = importlib.import_module(module)
            for package in later:
                importlib.import_module(package)
        return int(program.main(args.rest) or 0)

    return run
