"""`longtake compare`: passes its arguments on to core.model.evaluation.compare.command."""

from __future__ import annotations

from cli.commands.delegate import delegate, no_arguments

NAME = "compare"
SUMMARY = "compare methods of long video on the same prompts"
DESCRIPTION = "Runs the protocol of StreamingT2V's paper, and sets its Table 1 beside the published one."
EXAMPLES = "`longtake compare --help` is answered by the comparison itself."

add_arguments = no_arguments
run = delegate("the comparison", "core.model.evaluation.compare.command", "model,evaluate")
