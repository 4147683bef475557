"""The whole service: two workers, the API, a janitor and the webhook sender, and what each of them does when asked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from core.service.domain.errors import JobNotFound, LongtakeError
from core.service.domain.ports import Delivery
from core.service.domain.schema import JobRecord, JobStatus, Lane
from core.service.records.manifest_writer import create_job, write_manifest
from core.service.records.tombstones import delete_job
from core.service.redis import queue
from tests.helpers.job_life.processes import Process, Stop
from tests.helpers.job_life.servers import Lock, Server, Servers
from tests.helpers.job_life.worker import Worker
from worker.lanes.completion import wake
from worker.maintenance.janitor import Janitor

BATCH = 64
HOLD_SECONDS = 30.0
Settled = Literal["delivered", "failed", "pending"]


@dataclass
class Service(Servers):
    """The servers and the processes. `redis` is empty."""

    received: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Webhooks that have arrived: what each told of."""
    settled: set[str] = field(default_factory=set[str])
    """Those that have arrived or were given up."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.workers = {slot: Worker(self, slot) for slot in ("w1", "w2")}
        self.others = {name: Process(name) for name in ("api", "janitor", "sender")}

    # What happens of itself, one process each

    def submit(self, record: JobRecord, told: Callable[[], None], stop: Stop | None = None) -> None:
        services = self.services(self.others["api"])

        def post() -> None:
            create_job(services.store, services.storage, record)
            wake(services, record)
            told()

        self.others["api"].run(post, stop)

    def cancel(self, job_id: str, told: Callable[[], None], stop: Stop | None = None) -> None:
        services = self.services(self.others["api"])

        def post() -> None:
            try:
                record = services.store.request_cancel(job_id)
                write_manifest(services.store, services.storage, record)
            except LongtakeError:
                return
            if record.status is JobStatus.FINALIZING:
                services.queue.wake(Lane.FINALIZE, record.spec.model, job_id)
            told()

        self.others["api"].run(post, stop)

    def retry(self, job_id: str, stop: Stop | None = None) -> None:
        services = self.services(self.others["api"])

        def post() -> None:
            try:
                record = services.store.retry(job_id)
                write_manifest(services.store, services.storage, record)
            except LongtakeError:
                return
            wake(services, record)

        self.others["api"].run(post, stop)

    def ask_measuring(self, job_id: str, told: Callable[[], None], stop: Stop | None = None) -> None:
        services = self.services(self.others["api"])

        def post() -> None:
            try:
                record = services.store.ask_measuring(job_id)
                write_manifest(services.store, services.storage, record)
            except LongtakeError:
                return
            wake(services, record)
            told()

        self.others["api"].run(post, stop)

    def delete(self, job_id: str, told: Callable[[], None], stop: Stop | None = None) -> None:
        services = self.services(self.others["api"])

        def post() -> None:
            try:
                services.store.get(job_id)
                delete_job(services.store, services.storage, job_id)
            except LongtakeError:
                return
            services.queue.janitor()
            told()

        self.others["api"].run(post, stop)

    def janitor(self, stop: Stop | None = None) -> None:
        process = self.others["janitor"]
        process.run(Janitor(self.services(process), Lock(self, process)).run, stop)

    def send_webhooks(self, outcome: Settled, stop: Stop | None = None) -> None:
        """As the sender does it, with `outcome` for all that are due."""
        process = self.others["sender"]
        outbox, store = process.port(Server(self.outbox, self)), self.services(process).store

        def send() -> None:
            due = outbox.take_due(BATCH, HOLD_SECONDS)
            while due:
                for delivery in due:
                    self._settle(delivery, outcome)
                    later = self.clock.now() if outcome == "pending" else None
                    ended = outbox.record(delivery.model_copy(update={"state": outcome, "next_attempt_at": later}))
                    with suppress(JobNotFound):
                        store.end_webhooks(delivery.job_id, ended)
                due = () if outcome == "pending" else outbox.take_due(BATCH, HOLD_SECONDS)

        process.run(send, stop)

    def _settle(self, delivery: Delivery, outcome: Settled) -> None:
        if outcome != "pending":
            self.settled.add(delivery.id)
        if outcome == "delivered":
            self._receive(delivery)

    def _receive(self, delivery: Delivery) -> None:
        told = (delivery.job_id, str(delivery.event_type), delivery.body.partition('"data"')[2])
        before = self.received.setdefault(delivery.id, told)
        assert before[:2] == told[:2], f"webhook {delivery.id} has told two things: {before}, {told}"

    # What happens to it

    def process_of(self, name: str) -> Process:
        return self.others[name] if name in self.others else self.workers[name].process

    @property
    def parked(self) -> list[str]:
        """Names of the processes that stand still within their work."""
        return [name for name in (*self.workers, *self.others) if self.process_of(name).parked]

    def kill(self, name: str, *, given_back: bool) -> None:
        if name in self.workers:
            return self.workers[name].die(given_back=given_back)
        self.others[name].die()
        self.others[name] = Process(name)

    def kill_all(self) -> None:
        for name in (*self.workers, *self.others):
            self.process_of(name).die()

    def take_messages(self, slot: str) -> None:
        """Do what the waiting messages ask for, until none waits."""
        lanes = {task: lane for lane, task in queue.TASK_OF_LANE.items()}
        while (message := self.queue.take()) is not None:
            if message.task in lanes:
                self.workers[slot].work(lanes[message.task])
