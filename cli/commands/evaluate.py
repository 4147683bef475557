"""`longtake evaluate`: passes its arguments on to core.model.evaluation.command."""

from __future__ import annotations

from cli.commands.delegate import delegate, no_arguments

NAME = "evaluate"
SUMMARY = "measure the quality of a preset's videos"
DESCRIPTION = "Runs the suites of core.model.evaluation."
EXAMPLES = "`longtake evaluate --help` is answered by the evaluation code itself."

add_arguments = no_arguments
run = delegate("evaluation", "core.model.evaluation.command", extras="model")
