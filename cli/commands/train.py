"""`longtake train`: hands its arguments to core.model.training.run, which needs the `model` extra."""

from __future__ import annotations

import argparse

NAME = "train"
SUMMARY = "train a preset's weights"
DESCRIPTION = "Runs the training recipes of core.model.training."
EXAMPLES = "`longtake train --help` is answered by the training code itself."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None here: every argument is passed on."""
    del parser


def run(args: argparse.Namespace) -> int:
    from importlib import import_module

    from core.service.errors import SetupError

    try:
        # By name: only this command may reach the model half, and only when it runs.
        training = import_module("core.model.training.run")
    except ModuleNotFoundError as error:
        raise SetupError(
            f"training needs the Python package {error.name}", fix="pip install 'longtake[model]'"
        ) from error
    return int(training.main(args.rest) or 0)
