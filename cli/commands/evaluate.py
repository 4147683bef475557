"""`longtake evaluate`: hands its arguments to core.model.evaluation.command."""

from __future__ import annotations

from cli.commands.delegate import delegate, no_arguments

NAME = "evaluate"
SUMMARY = "measure what a preset's videos show"
DESCRIPTION = "Runs the suites of core.model.evaluation."
EXAMPLES = "`longtake evaluate --help` is answered by the evaluation code itself."

add_arguments = no_arguments
run = delegate("evaluation", "core.model.evaluation.command", extras="model")
