"""`longtake worker`: worker processes of one kind, one per GPU."""

from __future__ import annotations

import argparse

NAME = "worker"
SUMMARY = "run workers: one generation process per GPU, or a CPU worker"
DESCRIPTION = """\
Starts worker processes and restarts those that end. A worker of kind `both` generates and refines, whichever is next;
with one GPU for `generate` and another for `refine`, both run at the same time. Each process sees exactly one GPU
(CUDA_VISIBLE_DEVICES). With --pool the GPUs serve several models: each model has MIN of them at least and MAX at most,
and a GPU goes to the model that needs it. SIGTERM or Ctrl-C stops all of them in order: the chunk being made is
released, and another worker makes it. Addresses of Redis and S3 come from LONGTAKE_ variables."""
EXAMPLES = """\
examples:
  longtake worker                          one worker per GPU, or one on the CPU if there is none
  longtake worker --gpus 0,1 --model sprites
  longtake worker --pool sprites=1..4 --pool modelscope=0..8
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
    parser.add_argument(
        "--pool",
        action="append",
        default=[],
        metavar="MODEL=MIN..MAX",
        help="serve this model with MIN to MAX GPUs; once for each model, instead of --model",
    )


def run(args: argparse.Namespace) -> int:
    from worker import supervisor

    return supervisor.run(kind=args.kind, model=args.model, gpus=args.gpus, pools=args.pool)
