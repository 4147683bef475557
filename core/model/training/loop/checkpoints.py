"""Checkpoints of a stage: last.pt in its folder, written atomically, with weights, averages and optimiser state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

CHECKPOINT = "last.pt"
"""The checkpoint's file name in a stage's folder."""


class CheckpointError(RuntimeError):
    """A stage's checkpoint cannot be used; the message says what to do."""


class CheckpointMismatch(CheckpointError):
    """The checkpoint was trained with different values of the recipe."""


class StageNotTrained(CheckpointError):
    """An earlier stage, whose weights this one needs, has no checkpoint in the working folder."""


def trained_parameters(modules: Mapping[str, nn.Module]) -> list[nn.Parameter]:
    """The parameters that a stage optimises, ordered by module name."""
    return [p for name in sorted(modules) for p in modules[name].parameters() if p.requires_grad]


def is_trained(folder: Path) -> bool:
    """Whether a stage's folder holds a checkpoint."""
    return (folder / CHECKPOINT).is_file()


def require_trained(folder: Path) -> None:
    """Raises StageNotTrained if a stage's folder holds no checkpoint."""
    if not is_trained(folder):
        raise StageNotTrained(f"{folder / CHECKPOINT} is missing: train the stage {folder.name!r} first")


def write_initial_checkpoint(
    folder: Path, modules: Mapping[str, nn.Module], origin: Mapping[str, int | str] | None = None
) -> None:
    """Write the modules' weights to `folder` as a checkpoint of 0 steps: the stage starts from them.

    `origin`: what a run that resumes it must not change.
    """
    folder.mkdir(parents=True, exist_ok=True)
    average = [parameter.detach().clone() for parameter in trained_parameters(modules)]
    write_checkpoint(
        folder, {**module_weights(modules), "average": average, "step": 0, "spent": 0.0, "origin": dict(origin or {})}
    )


def module_weights(modules: Mapping[str, nn.Module]) -> dict[str, Any]:
    """The checkpoint entry `modules`: every module's state dict by name."""
    return {"modules": {name: module.state_dict() for name, module in modules.items()}}


def write_checkpoint(folder: Path, content: dict[str, Any]) -> None:
    """Write last.pt atomically: a run killed while writing finds the previous checkpoint."""
    torch.save(content, folder / f"{CHECKPOINT}.new")
    (folder / f"{CHECKPOINT}.new").replace(folder / CHECKPOINT)


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """The content of last.pt, tensors on the CPU. Raises StageNotTrained."""
    require_trained(folder)
    content: dict[str, Any] = torch.load(folder / CHECKPOINT, weights_only=True, map_location="cpu")
    return content


def load_weights(path: Path, modules: Mapping[str, nn.Module], weights: Mapping[str, Any]) -> None:
    """Load the weights of the checkpoint `path` into the modules. Raises CheckpointMismatch if shapes differ."""
    for name, module in modules.items():
        try:
            module.load_state_dict(weights[name])
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip()
            fix = "restore the recipe's [networks], or start a new run in another folder with --out"
            raise CheckpointMismatch(
                f"{path} was trained with networks of other sizes ({name}: {first}): {fix}"
            ) from error


def load_averaged(folder: Path, modules: Mapping[str, nn.Module]) -> None:
    """Load a stage's averaged weights into newly built modules. Raises StageNotTrained, CheckpointMismatch."""
    content = read_checkpoint(folder)
    load_weights(folder / CHECKPOINT, modules, content["modules"])
    with torch.no_grad():
        for parameter, mean in zip(trained_parameters(modules), content["average"], strict=True):
            parameter.copy_(mean)
