"""Commands that pass all their arguments on to a program of core.model, which also answers --help."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """None here: every argument is passed on."""
    del parser


def delegate(what: str, module: str, extras: str, *later: str) -> Callable[[argparse.Namespace], int]:
    """A `run` that calls `main` of a module of core.model. `extras` are those of this project that it needs.

    `later` are packages that it imports only while it works; they are checked before it begins.
    """

    def run(args: argparse.Namespace) -> int:
        from cli.commands.model_extra import model_extra

        with model_extra(what, extras):
            program = importlib.import_module(module)
            for package in later:
                importlib.import_module(package)
        return int(program.main(args.rest) or 0)

    return run
