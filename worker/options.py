"""The command line of a worker process."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from core.service.domain.ports import WorkerKind
from core.service.settings import Settings
from worker.runtime.names import process_name


@dataclass(frozen=True)
class Options:
    """What a process does. `name` is unique. `parent_pid`: stop when this process is no longer the parent. `number`: of
    this process among those of its supervisor."""

    kind: WorkerKind
    model: str
    name: str
    parent_pid: int | None = None
    number: int = 0


def read_options(arguments: Sequence[str], settings: Settings) -> Options:
    """Parse the command line. Exits with status 2 if it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m worker.process", description="one Longtake worker process")
    parser.add_argument("--kind", choices=get_args(WorkerKind), required=True)
    parser.add_argument("--model", default=settings.default_model, help="preset (not for kind cpu)")
    parser.add_argument("--slot", default="0", help="number among the processes of one kind; part of the name")
    parser.add_argument("--parent-pid", type=int, help="stop when this process is no longer the parent")
    parser.add_argument("--number", type=int, default=0, help="added to LONGTAKE_WORKER_METRICS_PORT")
    parsed = parser.parse_args(arguments)
    name = process_name(parsed.kind, parsed.model, parsed.slot, os.getpid())
    return Options(parsed.kind, parsed.model, name, parsed.parent_pid, parsed.number)
