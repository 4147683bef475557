"""`longtake worker`: workers of one kind, one process per GPU, restarted when they end and stopped in order."""

from __future__ import annotations

import argparse

NAME = "worker"
SUMMARY = "run workers: one generation process per GPU, or a CPU worker"
DESCRIPTION = """\
Starts worker processes and looks after them. A worker of kind `both` makes videos and refines them, in turn; where one
GPU is given to `refine` and another to `generate`, both go on at once. Each sees exactly one GPU
(CUDA_VISIBLE_DEVICES), a process that ends is started again, and SIGTERM or Ctrl-C stops all in order: a chunk being
made is given back, none is lost. Redis and S3 are found by the LONGTAKE_ variables."""
EXAMPLES = """\
examples:
  longtake worker                          one worker per GPU, or one on the CPU where there is no GPU
  longtake worker --gpus 0,1 --model sprites
  longtake worker --gpus none              one worker on the CPU
  longtake worker --kind generate --gpus 0 & longtake worker --kind refine --gpus 1
  longtake worker --kind cpu               final videos, webhooks, janitor
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
