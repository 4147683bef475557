"""The suite `anchor`: what can APM know of the anchor frame? Linear probes on the image encoder's embeddings."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from transformers.models.clip.modeling_clip import CLIPVisionModelWithProjection

from core.model.evaluation.reports.anchor_probes import probe
from core.model.evaluation.reports.anchor_report import AnchorReport
from core.model.networks.builders import build_image_encoder
from core.model.networks.encoders import ClipImageEncoder
from core.model.presets.files import load_module
from core.model.training.loop.checkpoints import CheckpointError
from core.model.training.recipe import RecipeError, SpritesNetworks, load_recipe
from core.model.training.sprites.clip_bank import module_digest
from core.model.training.sprites_models import SpritesModels

_TESTED, _FITTED_PER_TESTED = 1000, 4


def main(arguments: argparse.Namespace) -> int:
    """Fit the probes, write the report, print the table; returns the exit status. Raises PresetError."""
    torch.set_num_threads(arguments.threads)
    try:
        name, encoder = _load_encoder(arguments)
    except (RecipeError, CheckpointError) as error:
        sys.stderr.write(f"longtake evaluate: {error}\n")
        return 2
    tested = arguments.prompts or _TESTED
    report = AnchorReport(
        f"{name}: what the anchor's embedding tells, {tested} held-out scenes of one object",
        f"weights {module_digest(encoder)}",
        probe(ClipImageEncoder(encoder), _FITTED_PER_TESTED * tested, tested),
    )
    folder = arguments.out / f"{name}-anchor"
    report.write(folder)
    sys.stdout.write(f"{report.table()}\n\n{folder}/report.md, report.json, report.png\n")
    return 0


def _load_encoder(arguments: argparse.Namespace) -> tuple[str, CLIPVisionModelWithProjection]:
    """A name and the image encoder: of the working folder if there is one, else of the preset.

    Raises RecipeError, CheckpointError, PresetError.
    """
    work: Path | None = arguments.work
    if work is None:
        return arguments.preset.name, load_module(arguments.preset / "image_encoder", build_image_encoder)
    recipe = load_recipe(arguments.recipe)
    if not isinstance(recipe.networks, SpritesNetworks):
        raise RecipeError(f"recipe {recipe.name!r} does not train the encoder of an anchor")
    models = SpritesModels(recipe.smoke() if arguments.smoke else recipe, work)
    return f"{work.name}-work", models.image_encoder
