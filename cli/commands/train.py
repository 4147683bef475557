"""`longtake train`: passes its arguments on to core.model.training.command."""

from __future__ import annotations

from cli.commands.delegate import delegate, no_arguments

NAME = "train"
SUMMARY = "train a preset's weights"
DESCRIPTION = "Runs the training recipes of core.model.training."
EXAMPLES = "`longtake train --help` is answered by the training code itself."

add_arguments = no_arguments
run = delegate("training", "core.model.training.command", "model,train", "tensorboard")
