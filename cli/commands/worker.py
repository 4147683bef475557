"""`longtake worker`: worker processes of one kind, one per GPU."""

from __future__ import annotations

import argparse

NAME = "worker"
SUMMARY = "run workers: one generation process per GPU, or a CPU worker"
DESCRIPTION = """\
Starts worker processes and restarts those that end. A worker of kind `both` generates and refines, whichever is next;
with one GPU for `generate` and another for `refine`, both run at the same time. Each process sees exactly one GPU
(CUDA_VISIBLE_DEVICES). SIGTERM or Ctrl-C stops all of them in order: the chunk being made is released, and another
worker makes it. Addresses of Redis and S3 come from LONGTAKE_ variables."""
EXAMPLES = """\
examples:
  longtake worker                          one worker per GPU, or one on the CPU if there is none
  longtake worker --gpus 0,1 --model sprites
  longtake worker --gpus none              one worker on the CPU
  longtake worker --kind generate --gpus 0 & longtake worker --kind refine --gpus 1
  longtake worker --kind cpu               input media, final videos, webhooks, janitor
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kind", choices=("both", "generate", "refine", "cpu"), default="both", help="(default: %(default)s)"
    )
    parser.add_argument("--gpus", default="auto", help="auto, all, none, or a list such as 0,1 (default: %(default)s)")
    parser.add_argument(
        "--model", help="preset of a worker that is not cpu (default: LONGTAKE_DEFAULT_MODEL, or sprites)"
    )


def run(args: argparse.Namespace) -> int:
    from core.service.settings import read_settings
    from worker import supervisor

    settings = read_settings()
    model = args.model or settings.default_model
    return supervisor.run(kind=args.kind, model=model, gpus=args.gpus)
