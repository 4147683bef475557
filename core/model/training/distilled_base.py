"""Which weights an adapter was distilled from: it fits no others, so a stage's checkpoint has their digest."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import torch

from core.model.training.distilled_sampling import PART_OF, Part
from core.model.training.loop.checkpoints import CHECKPOINT, CheckpointMismatch, is_trained

DISTILLED_WEIGHTS = "distilled_weights"
"""Entry of a checkpoint's origin."""


def base_stages(folder: Path, part: Part) -> tuple[str, ...]:
    """The stages in a working folder whose weights make a part of a video; on clips a preset's base has no stage."""
    memory = "apm" if is_trained(folder / "apm") else "cam"
    stages = ("video", memory) if part == "windows" else ("video",)
    return tuple(stage for stage in stages if is_trained(folder / stage))


def base_digest(folder: Path, part: Part) -> str:
    """SHA-256 of the averaged weights of these stages."""
    return _digest_of(*map(_version_of, (folder / stage / CHECKPOINT for stage in base_stages(folder, part))))


def _version_of(file: Path) -> tuple[Path, int, int]:
    """The file, and what changes when it is replaced."""
    found = file.stat()
    return file, found.st_ino, found.st_mtime_ns


@lru_cache  # an export asks several times, and full-size checkpoints have tens of GB
def _digest_of(*versions: tuple[Path, int, int]) -> str:
    digest = hashlib.sha256()
    for file, _, _ in versions:
        content = torch.load(file, weights_only=True, mmap=True, map_location="cpu")
        for weights in content["average"]:
            digest.update(weights.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def fits(folder: Path, stage: str) -> bool:
    """Whether the adapter of a trained stage was distilled from the weights that are there now."""
    stored = _stored_digest(_version_of(folder / stage / CHECKPOINT))
    return stored is None or stored == base_digest(folder, PART_OF[stage])


@lru_cache
def _stored_digest(version: tuple[Path, int, int]) -> str | None:
    """What the checkpoint of an adapter says of the weights that it was distilled from; None for older checkpoints."""
    content = torch.load(version[0], weights_only=True, mmap=True, map_location="cpu")
    return content.get("origin", {}).get(DISTILLED_WEIGHTS)


def check_base(folder: Path, stage: str) -> None:
    """Raises CheckpointMismatch if the stage has an adapter that was distilled from other weights."""
    if is_trained(folder / stage) and not fits(folder, stage):
        raise CheckpointMismatch(f"{other_weights(folder, stage)}: remove {folder / stage} to distil it again")


def other_weights(folder: Path, stage: str) -> str:
    """What is wrong with an adapter that does not fit."""
    stages = " or ".join(base_stages(folder, PART_OF[stage]))
    return f"{folder / stage / CHECKPOINT} was distilled from other weights: {stages} was trained since"
