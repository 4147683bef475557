"""Names of worker processes. They follow from the process id, so that the supervisor knows a dead one's name."""

from __future__ import annotations

import socket

from core.service.domain.ports import WorkerKind


def process_name(kind: WorkerKind, model: str, slot: str, pid: int) -> str:
    """`slot` distinguishes the processes of one kind on this machine."""
    what = {"cpu": "cpu", "refine": f"{model}-refine"}.get(kind, model)
    return f"{what}-{slot}-{pid}@{socket.gethostname()}"
