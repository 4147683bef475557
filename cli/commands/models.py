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
        facts = catalog.get(name).facts
        default = " (default)" if name == settings.default_model else ""
        print(f"{name}{default}: {facts.description}")
        if not catalog.get(name).installed:
            print(f"  not installed: `{catalog.get(name).install_command}` downloads its weights")
        print(f"  {facts.width}x{facts.height}, {facts.fps} frames per second, up to {facts.max_prompt_tokens} tokens")
        if (refiner := facts.refiner) is not None:
            print(f"  refines to {refiner.width}x{refiner.height}, at most {refiner.max_side} pixels a side")
        if facts.refiner is not None and not catalog.get(name).refines:
            print(f"  its refiner is not installed: `{catalog.get(name).refiner_command}` downloads it")
        for prompt in facts.example_prompts:
            print(f"  {prompt!r}")
    return 0
