"""The queues in Redis: their scripts with arguments. The policy is core.service.domain.scheduling."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import redis
from redis.client import Pipeline

from core.service.domain.scheduling import Entry, Key, Policy
from core.service.domain.schema import LANES_OF_ANY_MODEL, JobRecord, JobStatus, Lane
from core.service.domain.transitions import Transition
from core.service.domain.transitions.entries import entry_of, place_of
from core.service.redis import keys
from core.service.redis import schedule_scripts as scripts
from core.service.redis.transaction import PUT_ENTRY, call

RESERVED_SECONDS = 5.0
"""How long a job that was picked is kept for its worker, which claims it at once unless it dies or cannot read it."""

UNREADABLE_SECONDS = 60.0
"""When a job that no worker could read is tried again."""

Now = float | None
"""Seconds since 1970. None: by Redis' clock, which all processes share."""
_State = Literal["free", "claim", "rest", "same"]


@dataclass(frozen=True)
class Queue:
    """The queue of one lane, and the pool that it is part of."""

    lane: Lane
    model: str
    """"" for lanes of any model."""

    @classmethod
    def of(cls, lane: Lane, model: str) -> Queue:
        return cls(lane, "" if lane in LANES_OF_ANY_MODEL else model)

    @property
    def name(self) -> str:
        return keys.ready_queue(self.lane, self.model)

    @property
    def pool_name(self) -> str:
        """The model, or a lane of any model."""
        return self.model or self.lane.value

    @property
    def pool(self) -> str:
        """Prefix of the pool's keys."""
        return keys.pool_key(self.pool_name)

    @property
    def counters(self) -> tuple[str, ...]:
        """Fields of the pool's state about this queue: new jobs, their pieces, those of begun ones, streams (begun jobs
        without an end), mean seconds of a piece; and the mean pace of the generate lane."""
        prefix = "refine " if self.lane is Lane.REFINE else ""  # as in schedule_parts
        counts = ("new jobs", "new pieces", "begun pieces", "streams")
        return (*(f"{prefix}{what}" for what in counts), f"mean {self.lane}", "pace")

    @property
    def in_pool(self) -> list[Queue]:
        """All queues of the pool."""
        if not self.model:
            return [self]
        return [Queue(lane, self.model) for lane in Lane if lane not in LANES_OF_ANY_MODEL]

    def argument(self) -> dict[str, str]:
        return {"key": keys.queue_key(self.name), "lane": self.lane.value, "name": self.name}


class Schedule:
    """What the job store asks about the queues. `now`: see Now."""

    def __init__(self, client: redis.Redis, policy: Policy) -> None:
        self._policy = policy
        self._put_off = client.register_script(scripts.PUT_OFF)
        self._pick = client.register_script(scripts.PICK)
        self._free_work = client.register_script(scripts.FREE_WORK)
        self._peek = client.register_script(scripts.PEEK)
        self._is_next = client.register_script(scripts.IS_NEXT)
        self._put = client.register_script(scripts.PUT)
        self._recount = client.register_script(scripts.RECOUNT)

    def pick(self, queues: Sequence[Queue], now: Now, own: Collection[Key]) -> Key | None:
        """The next job of the queues, which must be of one pool. For RESERVED_SECONDS nobody else is given it."""
        ask = self._ask(queues, now, own) | {"reserved": RESERVED_SECONDS}
        found = cast("list[str] | None", self._pick(args=[json.dumps(ask)]))
        return (found[1], Lane(found[0])) if found else None

    def free_work(self, queues: Sequence[Queue], now: Now) -> dict[Lane, str]:
        """A free job of each of these queues, which must be of one pool, that has any. Chooses nothing."""
        found = cast("list[str]", self._free_work(args=[json.dumps(self._ask(queues, now, ()))]))
        return {Lane(lane): job_id for lane, job_id in zip(found[::2], found[1::2], strict=True)}

    def peek(self, queue: Queue, now: Now, limit: int) -> list[str]:
        """The next jobs of a queue, in order, at most `limit`."""
        found = cast("list[str]", self._peek(args=[json.dumps(self._ask([queue], now, ()) | {"limit": limit})]))
        return found[1::2]

    def is_next(self, entry: Entry, queues: Sequence[Queue], now: Now) -> bool:
        """Whether `entry` would be picked if it were free, by a worker that holds its state."""
        first = sorted(queues, key=lambda queue: queue.lane is not entry.lane)
        ask = self._ask(first, now, [entry.key]) | {"entry": entry_text(entry), "job": entry.job_id}
        return bool(self._is_next(args=[json.dumps(ask)]))

    def put_off(self, queue: Queue, job_id: str, now: Now) -> None:
        """Keep a picked job that cannot be read from workers for a while."""
        put = {"queue": queue.argument(), "job": job_id, "rest": UNREADABLE_SECONDS, "now": now}
        self._put_off(args=[json.dumps(put)])

    def forget(self, queue: Queue, job_id: str, now: Now) -> None:
        """Take a job out of a queue: it is gone."""
        self._put(args=[_put(queue, job_id, None, "same", now)])

    def recount(self, queues: Iterable[Queue]) -> int:
        """Count the jobs of queues again that are not as many as were counted. Returns how many queues these are. Cheap
        if there are none, else O(their jobs)."""
        listed = [{"pool": queue.pool, "queue": queue.argument()} for queue in queues]
        return cast(int, self._recount(args=[json.dumps(listed)])) if listed else 0

    def _ask(self, queues: Sequence[Queue], now: Now, own: Collection[Key]) -> dict[str, Any]:
        lanes = {queue.lane: [job_id for job_id, lane in own if lane is queue.lane] for queue in queues}
        return {
            "pool": queues[0].pool,
            "all": [queue.argument() for queue in queues[0].in_pool],
            "queues": [queue.argument() for queue in queues],
            # An empty list would become an object.
            "own": {lane.value: jobs for lane, jobs in lanes.items() if jobs},
            "now": now,
            "ahead": self._policy.ahead_seconds,
            "urgent": self._policy.urgent_seconds,
            "ageing": self._policy.ageing_seconds,
        }


def write(pipe: Pipeline, before: JobRecord | None, transition: Transition, now: Now) -> None:
    """Queue what a transition changes in the queues."""
    after = transition.record
    for lane in Lane:
        old = None if before is None else entry_of(before, lane)
        new = entry_of(after, lane)
        state = _state(before, transition, lane)
        rest = transition.rest_seconds if state == "rest" else 0
        # At a commit also what seems unchanged: a process of another version may not have written it.
        if old == new and (new is None or (state == "same" and not transition.is_commit)):
            continue
        queue, is_made = Queue.of(lane, after.spec.model), transition.has_made(lane)
        call(pipe, PUT_ENTRY, [], _put(queue, after.id, new, state, now, rest=rest, is_made=is_made))


def write_again(pipe: Pipeline, record: JobRecord, now: Now) -> None:
    """Queue what a job's queues should have: a process of another version may have changed the job."""
    _write_all(pipe, record, {lane: entry_of(record, lane) for lane in Lane}, now)


def remove(pipe: Pipeline, record: JobRecord, now: Now) -> None:
    """Queue that a job leaves all queues."""
    _write_all(pipe, record, dict.fromkeys(Lane), now)


def _write_all(pipe: Pipeline, record: JobRecord, entries: Mapping[Lane, Entry | None], now: Now) -> None:
    for lane, entry in entries.items():
        call(pipe, PUT_ENTRY, [], _put(Queue.of(lane, record.spec.model), record.id, entry, "same", now))


def _state(before: JobRecord | None, transition: Transition, lane: Lane) -> _State:
    """What becomes of a lane. Its lease says how long a claim lasts."""
    if before is None:
        return "free"
    was, held = before.lane(lane), transition.record.lane(lane)
    if held.held:
        return "claim" if held.token != was.token or not was.held else "same"
    if transition.released is lane and transition.rest_seconds > 0:
        return "rest"
    freed = was.held or transition.released is lane or lane in transition.revoked
    return "free" if freed else "same"


def _put(
    queue: Queue,
    job_id: str,
    entry: Entry | None,
    state: _State,
    now: Now,
    *,
    rest: float = 0.0,
    is_made: bool = False,
) -> str:
    return json.dumps(
        {
            "pool": queue.pool,
            "all": [each.argument() for each in queue.in_pool],
            "queue": queue.argument(),
            "job": job_id,
            "entry": None if entry is None else entry_text(entry),
            "state": state,
            "rest": rest,
            "is_made": is_made,
            "now": now,
        }
    )


def entry_text(entry: Entry) -> str:
    """How an entry is stored; its job and lane are the field and the key."""
    fields = ("owner", "priority", "begun", "order", "waits_since", "stalls_at", "share", "pieces", "plays_seconds")
    return json.dumps({field: getattr(entry, field) for field in fields}, separators=(",", ":"))


def place_text(record: JobRecord) -> str:
    """What scripts.POSITION reads to tell a queued job's place: as if it were in the queue now."""
    queue, entry = Queue.of(Lane.GENERATE, record.spec.model), place_of(record)
    fields = {"owner": entry.owner, "priority": entry.priority, "order": entry.order}
    place = {"queue": queue.argument(), "pool": queue.pool, "job": record.id, "entry": fields}
    return json.dumps(place, separators=(",", ":"))


def is_queued(record: JobRecord) -> bool:
    """Whether the job has a place."""
    return record.status is JobStatus.QUEUED and not record.delete_requested


def queues_of(names: Iterable[str]) -> list[Queue]:
    """Queues by name, without those of lanes that only a newer version knows."""
    known = set(Lane)
    parts = (name.partition(":") for name in sorted(names))
    return [Queue(Lane(lane), model) for lane, _, model in parts if lane in known]
