"""`longtake models`: the presets installed on this machine."""

from __future__ import annotations

import argparse

NAME = "models"
SUMMARY = "list the models installed on this machine"
DESCRIPTION = """\
Lists the presets in LONGTAKE_PRESETS_DIR (by default the ones shipped): names, sizes, example prompts, and which are
not installed."""
EXAMPLES = """\
examples:
  longtake models
  curl http://127.0.0.1:8000/models     the models of a running service
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""
    del parser


def run(args: argparse.Namespace) -> int:
    from core.service.admission.catalog import Catalog
    from core.service.settings import read_settings

    del args
    settings = read_settings()
    catalog = Catalog(settings)
    for name in catalog.names():
        preset = catalog.get(name).preset
        default = " (default)" if name == settings.default_model else ""
        print(f"{name}{default}: {preset.description}")
        if not catalog.get(name).installed:
            print(f"  not installed: `{catalog.get(name).install_command}` downloads its weights")
        print(
            f"  {preset.width}x{preset.height}, {preset.fps} frames per second, up to {preset.max_prompt_tokens} tokens"
        )
        if (refiner := preset.refiner) is not None:
            print(f"  refines to {refiner.width}x{refiner.height}, at most {refiner.max_side} pixels a side")
        if preset.refiner is not None and not catalog.get(name).refines:
            print(f"  its refiner is not installed: `{catalog.get(name).refiner_command}` downloads it")
        for prompt in preset.example_prompts:
            print(f"  {prompt!r}")
    return 0
