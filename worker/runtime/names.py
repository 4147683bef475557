"""What a worker process is called. The supervisor, which knows its process id, can tell the name of a dead one."""

from __future__ import annotations

import socket

from core.service.domain.ports import WorkerKind


def process_name(kind: WorkerKind, model: str, slot: str, pid: int) -> str:
    """`slot` tells processes of one kind on this machine apart."""
    what = {"cpu": "cpu", "refine": f"{model}-refine"}.get(kind, model)
    return f"{what}-{slot}-{pid}@{socket.gethostname()}"


def slot_names(process: str, count: int) -> list[str]:
    """What the parts of a process are called that each hold a lease of their own."""
    return [f"{process}/{number}" for number in range(count)]
