"""`longtake evaluate`: hands its arguments to core.model.evaluation.command."""

from __future__ import annotations

from cli.commands.delegate import no_arguments, passed_on

NAME = "evaluate"
SUMMARY = "measure what a preset's videos show"
DESCRIPTION = "Runs the suites of core.model.evaluation."
EXAMPLES = "`longtake evaluate --help` is answered by the evaluation code itself."

add_arguments = no_arguments
run = passed_on("evaluation", "core.model.evaluation.command", extras="model")
