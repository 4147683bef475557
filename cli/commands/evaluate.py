"""`longtake evaluate`: hands its arguments to core.model.evaluation.run, which needs the `model` extra."""

from __future__ import annotations

import argparse

NAME = "evaluate"
SUMMARY = "measure what a preset's videos show"
DESCRIPTION = "Runs the suites of core.model.evaluation."
EXAMPLES = "`longtake evaluate --help` is answered by the evaluation code itself."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None here: every argument is passed on."""
    del parser


def run(args: argparse.Namespace) -> int:
    from cli.model_half import needing_model_half

    with needing_model_half("evaluation"):
        from core.model.evaluation import run as evaluation
    return evaluation.main(args.rest)
