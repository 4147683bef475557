"""Several models on one machine's GPUs: reads their limits, and moves GPUs to the models that need them.

Which model a GPU should serve is decided by core.service.domain.slots; the supervisor restarts its process for a move.
"""

from __future__ import annotations

import logging
import os
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Protocol

from core.service.admission.catalog import Catalog
from core.service.clock import SystemClock
from core.service.domain.capacity import PoolDemand
from core.service.domain.errors import SetupError, StoreError, UnknownModel, shortened
from core.service.domain.ports import EVERYTHING, PauseTarget, WorkerStatus
from core.service.domain.ports.pauses import holds_pool, targets_of
from core.service.domain.slots import MachinePool, PoolLimits, Slot, allot
from core.service.redis.client import REQUEST, connect
from core.service.redis.job_store import RedisJobStore
from core.service.redis.pauses import RedisPauses
from core.service.redis.worker_registry import RedisWorkerRegistry
from core.service.settings import Settings
from worker.runtime.names import process_name
from worker.unready import Unready

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0 * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
"""Between two looks at the queues. Machines look at different times, so that one mostly sees what another has moved."""
ANNOUNCED_SECONDS = 2.5 * LOOK_SECONDS
STARTING_SECONDS = 120.0
"""A process that has not reported itself this long after its slot's move is announced no more: it may never."""
_POOL = re.compile(r"([^=\s]+)=([0-9]{1,4})\.\.([0-9]{1,4})")
_COMING_OR_THERE = frozenset({"starting", "ready", "busy"})
_MAKES_CHUNKS = frozenset({"both", "generate"})


def read_pools(texts: Sequence[str], catalog: Catalog, num_slots: int) -> list[PoolLimits]:
    """The pools of `--pool MODEL=MIN..MAX`, given once for each model. Raises SetupError if a text cannot be read,
    names an unknown model or one twice, or has limits that contradict one another or the number of GPUs."""
    pools = [_read_pool(text, catalog) for text in texts]
    models = [pool.model for pool in pools]
    if twice := [model for model in models if models.count(model) > 1]:
        raise SetupError(f"--pool names {twice[0]} more than once", fix="give each model once")
    wanted = sum(pool.minimum for pool in pools)
    if wanted > num_slots:
        raise SetupError(
            f"the pools want at least {wanted} GPUs together, and there are {num_slots}", fix="lower their minimums"
        )
    if wanted == num_slots:
        for pool in pools:
            if pool.minimum == 0:
                logger.warning("%s never gets a GPU: the minimums of other pools take all %d", pool.model, num_slots)
    if (most := sum(pool.maximum for pool in pools)) < num_slots:
        logger.warning("%d GPUs have no worker: the maximums of the pools are %d together", num_slots - most, most)
    return pools


def _read_pool(text: str, catalog: Catalog) -> PoolLimits:
    found = _POOL.fullmatch(text)
    if found is None:
        raise SetupError(f"--pool {shortened(text)!r} cannot be read", fix="give MODEL=MIN..MAX, such as sprites=1..4")
    model, minimum, maximum = found[1], int(found[2]), int(found[3])
    try:
        catalog.get(model)
    except UnknownModel as error:
        raise SetupError(f"--pool {shortened(text)!r}: {error.message}", fix=error.fix) from error
    if not minimum <= maximum or maximum == 0:
        raise SetupError(
            f"--pool {shortened(text)!r}: the maximum must be at least 1, and at least the minimum",
            fix=f"for example {model}={minimum}..{max(1, minimum)}",
        )
    return PoolLimits(model, minimum, maximum)


@dataclass(frozen=True)
class Needs:
    """What the whole service needs and has at one moment."""

    demands: Sequence[PoolDemand]
    workers: Sequence[WorkerStatus]
    paused: frozenset[PauseTarget]


class Surroundings(Protocol):
    """What a machine learns of the service, and tells the other machines."""

    def read(self) -> Needs:
        """Without what this machine has announced. Raises StoreError."""
        ...

    def announce(self, coming: Mapping[int, str]) -> None:
        """Processes of these models are coming on these slots, and no others any more: other machines count on them.
        Lasts until shortly after the next look. Raises StoreError."""
        ...


class RedisSurroundings:
    """Surroundings in Redis. `gpus`: of each slot, as for worker.children.plan_child."""

    def __init__(self, settings: Settings, gpus: Sequence[str]) -> None:
        records = connect(settings.redis_url, REQUEST)
        self._gpus, self._clock = gpus, SystemClock()
        self._store = RedisJobStore(records, self._clock, retention_seconds=settings.retention_seconds)
        self._workers = RedisWorkerRegistry(records)
        self._pauses = RedisPauses(records)
        self._announced = set[str]()

    def read(self) -> Needs:
        workers = [worker for worker in self._workers.all() if worker.name not in self._announced]
        return Needs(self._store.pool_demands(), workers, frozenset(self._pauses.all()))

    def announce(self, coming: Mapping[int, str]) -> None:
        statuses = [self._status(number, model) for number, model in coming.items()]
        for status in statuses:
            self._announced.add(status.name)
            self._workers.report(status, ANNOUNCED_SECONDS)
        for name in self._announced - {status.name for status in statuses}:
            self._workers.remove(name)
            self._announced.discard(name)

    def _status(self, number: int, model: str) -> WorkerStatus:
        gpu, pid = self._gpus[number], os.getpid()
        return WorkerStatus(
            name=process_name("both", model, gpu or "cpu", pid),
            kind="both",
            model=model,
            state="starting",
            reason="the worker before it is being replaced, or it is being started",
            device="cpu",
            pid=pid,
            cuda_visible_devices=gpu,
            started_at=self._clock.now(),
        )


class SlotController:
    """Knows which model each slot serves, and changes that as the work changes.

    The times are the settings: how soon open work should be done, and how long a slot keeps what it was given.
    """

    def __init__(
        self,
        limits: Sequence[PoolLimits],
        num_slots: int,
        surroundings: Surroundings,
        *,
        target_seconds: float,
        hold_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._surroundings = surroundings
        self._target_seconds, self._hold_seconds = target_seconds, hold_seconds
        self._now = monotonic
        self._models: list[str | None] = [None] * num_slots
        self._given_at = [-inf] * num_slots
        self._moved_at = [-inf] * num_slots
        self._unready = Unready()
        self._last_served_at = dict.fromkeys((pool.model for pool in limits), monotonic())

    def first_models(self) -> list[str | None]:
        """The models to start with, by slot; None where all pools have their maximum. Without Redis nobody needs
        anything."""
        try:
            needs = self._surroundings.read()
        except StoreError as error:
            logger.warning("GPUs are shared out without regard to the queues: %s", error.message)
            needs = Needs([], [], frozenset())
        self._allot(needs, [None] * len(self._models))
        return list(self._models)

    def look(self, names: Sequence[str | None]) -> list[tuple[int, str]]:
        """The slots that move now, with their new models. `names`: of each slot's process, None where none runs. Raises
        StoreError: then all stays as it is."""
        try:
            needs = self._surroundings.read()
        except StoreError:
            self._unready.forget_all()
            raise
        moves = self._allot(needs, names)
        with suppress(StoreError):  # the next look does
            self._surroundings.announce(self._coming(needs, names))
        return moves

    def _coming(self, needs: Needs, names: Sequence[str | None]) -> dict[int, str]:
        """The models of processes that have not reported themselves yet, by slot."""
        reported = {(worker.name, worker.model) for worker in needs.workers}
        return {
            number: model
            for number, (name, model) in enumerate(zip(names, self._models, strict=True))
            if model is not None
            and (name, model) not in reported
            and self._now() - self._moved_at[number] < STARTING_SECONDS
        }

    def _allot(self, needs: Needs, names: Sequence[str | None]) -> list[tuple[int, str]]:
        now = self._now()
        for model in self._models:
            if model is not None:
                self._last_served_at[model] = now
        self._unready.note(list(zip(names, self._models, strict=True)), needs.workers, now)
        busy = {worker.name for worker in needs.workers if worker.state == "busy"}
        slots = [
            Slot(
                model,
                held_seconds=now - self._given_at[number],
                is_busy=name in busy,
                is_paused=_is_paused(name, needs.paused),
                is_down=self._unready.is_down(number, now),
            )
            for number, (model, name) in enumerate(zip(self._models, names, strict=True))
        ]
        after = allot(slots, self._pools(needs, names, now), self._target_seconds, self._hold_seconds)
        moves = list[tuple[int, str]]()
        for number, slot in enumerate(after):
            if slot.model is not None and slot.model != self._models[number]:
                self._models[number], self._given_at[number] = slot.model, now - slot.held_seconds
                self._moved_at[number] = now
                self._unready.forget(number)
                moves.append((number, slot.model))
        return moves

    def _pools(self, needs: Needs, names: Sequence[str | None], now: float) -> list[MachinePool]:
        demands = {demand.pool: demand for demand in needs.demands if not holds_pool(needs.paused, demand.pool)}
        others = [
            worker
            for worker in needs.workers
            if worker.name not in names and _counts(worker) and not _is_paused(worker.name, needs.paused)
        ]
        return [
            MachinePool(
                limits,
                demands.get(limits.model) or PoolDemand(limits.model, 0, 0, queue_seconds=0.0, active_workers=0),
                elsewhere=sum(worker.model == limits.model for worker in others),
                without_seconds=now - self._last_served_at[limits.model],
                is_down=self._unready.is_down(limits.model, now),
            )
            for limits in self._limits
        ]


def _is_paused(name: str | None, paused: frozenset[PauseTarget]) -> bool:
    """Whether a pause is for this process itself."""
    return name is not None and not paused.isdisjoint({*targets_of("", name)} - {EVERYTHING})


def _counts(worker: WorkerStatus) -> bool:
    """Whether it does, or soon will do, the work of its model."""
    return worker.state in _COMING_OR_THERE and worker.kind in _MAKES_CHUNKS
