"""`longtake models`: the presets of this machine."""

from __future__ import annotations

import argparse
import sys

NAME = "models"
SUMMARY = "list the models of this machine"
DESCRIPTION = """\
Lists the presets in LONGTAKE_PRESETS_DIR (by default the ones shipped) and of packages: inputs, sizes, rates and
lengths, disk and GPU memory, licence and source, prompts to try, and what installs those that are not installed."""
EXAMPLES = """\
examples:
  longtake models
  longtake models svd cogvideox-2b      only these
  curl http://127.0.0.1:8000/models     the models of a running service
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="*", help="names of the models to show (default: all)")


def run(args: argparse.Namespace) -> int:
    from cli.output.model_lines import model_lines
    from core.service.admission.catalog import Catalog
    from core.service.domain.errors import PresetError
    from core.service.settings import read_settings

    settings = read_settings()
    catalog, exit_code = Catalog(settings), 0
    for name in args.model or catalog.names():
        try:
            print("\n".join(model_lines(catalog.get(name), settings)), end="\n\n")
        except PresetError as error:
            print(f"{name} cannot be used: {error.with_fix}", file=sys.stderr)
            exit_code = 1
    return exit_code
