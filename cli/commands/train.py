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
    from cli.model_half import needing_model_half

    with needing_model_half("training", extras="model,train"):
        from core.model.training import run as training
    return int(training.main(args.rest) or 0)
