"""`longtake health`: an exit code for container health checks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.service.domain.ports import WorkerStatus

NAME = "health"
SUMMARY = "exit code 0 if the API or this machine's worker is healthy"
DESCRIPTION = """\
For container health checks. `api` asks /readyz. `worker` asks Redis whether the worker processes of this host
have reported within the last seconds and can work; one that still loads its networks counts as healthy, unless
--ready is given. Prints one line; the exit code is 0 or 1."""
EXAMPLES = """\
examples:
  longtake health api --url http://127.0.0.1:8000
  longtake health worker --kind both
  longtake health worker --kind both --ready      0 only once its networks are loaded
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_api_arguments

    parser.add_argument("what", choices=("api", "worker"))
    parser.add_argument(
        "--kind",
        choices=("both", "generate", "refine", "cpu"),
        default="both",
        help="kind of the worker (default: %(default)s)",
    )
    parser.add_argument(
        "--ready", action="store_true", help="a worker that still loads its networks is not healthy (for rollouts)"
    )
    add_api_arguments(parser)


def run(args: argparse.Namespace) -> int:
    healthy, text = _api(args.url) if args.what == "api" else _worker(args.kind, ready=args.ready)
    print(text)
    return 0 if healthy else 1


def _api(url: str) -> tuple[bool, str]:
    from cli.commands.api import api_client

    with api_client(url) as client:
        ready = client.is_ready()
    return ready, f"{url} is {'ready' if ready else 'not ready'}"


def _worker(kind: str, *, ready: bool) -> tuple[bool, str]:
    from socket import gethostname

    from core.service.redis.client import connect
    from core.service.redis.worker_registry import RedisWorkerRegistry
    from core.service.settings import read_settings

    with connect(read_settings().redis_url) as client:
        return worker_health(RedisWorkerRegistry(client).all(), kind, gethostname(), ready=ready)


def worker_health(workers: Sequence[WorkerStatus], kind: str, host: str, *, ready: bool = False) -> tuple[bool, str]:
    """(healthy, text). Healthy: this host has a worker process of this kind, and all of them can work; with `ready`
    also: none is still starting.

    A process that has not reported for some seconds is no longer in `workers`.
    """
    mine = [worker for worker in workers if worker.kind == kind and worker.name.endswith(f"@{host}")]
    if not mine:
        return False, f"no {kind} worker of {host} has reported"
    lines = [f"{worker.name} {worker.state}" + (f": {worker.reason}" if worker.reason else "") for worker in mine]
    unhealthy = {"not_ready", "starting"} if ready else {"not_ready"}
    return all(worker.state not in unhealthy for worker in mine), "; ".join(lines)
