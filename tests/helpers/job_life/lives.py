"""What the test knows of the jobs that it has asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from core.service.domain.schema import JobRecord
from tests.helpers.job_life.jobs import Kind


@dataclass
class Life:
    """What the test knows of a job: what was asked for, and what was told as done."""

    job_id: str
    kind: Kind
    seed: int
    webhooks: bool
    accepted: bool = False
    cancel_tried: bool = False
    cancel_told: int | None = None
    """The generation of the job that was canceled."""
    delete_tried: bool = False
    delete_told: bool = False
    measure_told: bool = False
    """Asked for with the job, or later."""
    damaged: bool = False
    seen: JobRecord | None = None
    log: tuple[tuple[str, str, int, int | None], ...] = ()
    """Entries seen: id, type, version, index of the chunk."""

    def accept(self) -> None:
        self.accepted = True

    def cancel(self, generation: int) -> None:
        self.cancel_told = generation

    def delete(self) -> None:
        self.delete_told = True

    def ask_measuring(self) -> None:
        self.measure_told = True

    def may_be_expired(self, now: datetime) -> bool:
        ends = self.seen.expires_at if self.seen else None
        return ends is not None and ends <= now
