"""The whole service in one thread at a time: processes that stop at a call, continue, or die there, over a real Redis.

Every process (a worker, the API, a janitor, the webhook sender) runs in a thread of its own and only while the test
waits for it; so a run is the same each time it is repeated. The store, outbox and janitor's lock are the real ones; the
objects are in a FakeStorage, the engines are fakes. Knows no hypothesis and judges nothing but fencing tokens.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, Generic, Literal, TypeVar, cast

import redis

from core.service.domain.engine import NO_INPUT_MEDIA, EngineChunk, EngineState, FramesTHWC, InputMedia, OnStep
from core.service.domain.errors import JobNotFound, LongtakeError, StorageError, StoreError, StoreUnavailable
from core.service.domain.ids import UPLOAD_ID_PREFIX
from core.service.domain.manifest import (
    job_id_of_manifest,
    manifest_key,
    refined_video_key,
    video_key,
)
from core.service.domain.ports import Delivery, Lease, measuring_name
from core.service.domain.refiner import RefinedWindow, RefineState
from core.service.domain.schema import (
    ChunkRecord,
    JobEvent,
    JobRecord,
    JobSpec,
    JobStatus,
    Lane,
    LaneState,
    MeasuredVideo,
    Variant,
)
from core.service.domain.transitions.rules import is_kept
from core.service.domain.uploads import upload_key
from core.service.records.manifest_writer import create_job, write_manifest
from core.service.records.rebuild import RecordRebuilder
from core.service.records.tombstones import delete_job
from core.service.redis import chunk_lists, job_rows, keys, queue
from core.service.redis.event_log import RedisEventLog
from core.service.redis.job_store import RedisJobStore
from core.service.redis.outbox import RedisOutbox
from core.service.redis.pauses import RedisPauses
from core.service.redis.speed import RedisSpeeds
from core.service.redis.upload_store import RedisUploadStore
from core.service.settings import Settings
from core.service.testing.clock import FakeClock
from core.service.testing.engines import FakeEngine, FakeRefineEngine
from core.service.testing.queue import FakeTaskQueue
from core.service.testing.registries import FakeWorkerRegistry
from core.service.testing.storage import FakeStorage
from tests.helpers.background import AtOnce, Late
from tests.helpers.clips import picture
from tests.helpers.fake_world import KEEP_SECONDS, World
from tests.helpers.jobs import job_spec, refine_spec
from tests.helpers.manifests import record_from_manifest
from worker.lanes.completion import wake
from worker.lanes.finalize import Finalizer
from worker.lanes.generate import ChunkMaker
from worker.lanes.lane import Outcome
from worker.lanes.measure import Measurer
from worker.lanes.prepare import MediaPreparer
from worker.lanes.refine import ChunkRefiner
from worker.maintenance.dead_workers import release_lease_of
from worker.maintenance.janitor import Janitor
from worker.maintenance.janitor_lock import RedisJanitorLock
from worker.measuring.child import Measured
from worker.measuring.request import MeasureRequest
from worker.media.decode import decode_media
from worker.media.input_media import InputMediaReader
from worker.runtime.services import Services

SIDE = 32
"""Pixels: few, for thousands of chunks are made."""
MODEL = job_spec().model
CHUNK_LANES = (Lane.GENERATE, Lane.REFINE)
LONG_SECONDS = 3600.0
"""Leases never run out by themselves here: the test removes them."""
HANG_SECONDS = 120.0
BATCH = 64
HOLD_SECONDS = 30.0

Kind = Literal["plain", "streaming", "lockstep", "picture"]
StoreMode = Literal["up", "away", "deaf"]
"""deaf: it does what it is asked, and the answer is lost."""
Settled = Literal["delivered", "failed", "pending"]
T = TypeVar("T")


class Killed(BaseException):
    """What kill -9 is here: no handler of errors may catch it."""


class EngineFault(Exception):
    """What a broken engine raises."""


class SequentialServerCall(Generic[T]):
    """patience.ServerCall without its thread: calls that run side by side in the service run one after the other, so
    that a run can be repeated. That a call may hang has tests of its own."""

    def __init__(self, action: Callable[[], T]) -> None:
        self._result = action()

    def result(self, check: Callable[[], None]) -> T:
        del check
        return self._result

    def result_within(self, seconds: float) -> T:
        del seconds
        return self._result


@dataclass(frozen=True)
class Stop:
    """At its `at`-th call of a port from now on a process stands still, before the call or after it."""

    at: int
    before: bool


class Process:
    """A process that runs while the test waits in `run` or `go_on`, and stops where it is told to or where it waits for
    a server. All it reaches goes through `port`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parked = False
        self.at_call = ""
        self.drain = _Drain(self)
        self.calls_left: int | None = None
        self._before = False
        self._dead = False
        self._turn = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._error: BaseException | None = None
        self._result: object = None

    def port(self, port: object) -> Any:
        return _Port(port, self)

    def run(self, work: Callable[[], object], stop: Stop | None = None) -> object:
        """What `work` returned, or None where it stands still or has failed as a server or an engine does."""
        assert not self.parked, self.name
        assert not self._dead, self.name
        self._stop_at(stop)
        self._result, self._error = None, None
        threading.Thread(target=self._thread, args=(work,), name=self.name, daemon=True).start()
        return self._await()

    def go_on(self, stop: Stop | None = None) -> object:
        assert self.parked, self.name
        self._stop_at(stop)
        self._turn.release()
        return self._await()

    def die(self) -> None:
        """Where it stands, or between two pieces of work."""
        self._dead = True
        if self.parked:
            self._turn.release()
            self._await()

    def call(self, name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._dead:
            raise Killed
        if self.calls_left is not None:
            self.calls_left -= 1
        stops = self.calls_left == 0
        if stops and self._before:
            self.park(f"before {name}")
        result = method(*args, **kwargs)
        if stops and not self._before:
            self.park(f"after {name}")
        return result

    def park(self, where: str) -> None:
        self.parked, self.at_call, self.calls_left = True, where, None
        self._back.release()
        self._turn.acquire()
        self.parked = False
        if self._dead:
            raise Killed

    def _stop_at(self, stop: Stop | None) -> None:
        self.calls_left, self._before = (stop.at, stop.before) if stop else (None, False)

    def _await(self) -> object:
        assert self._back.acquire(timeout=HANG_SECONDS), f"{self.name} hangs"
        if self._error is not None and not self.parked:
            raise self._error
        return None if self.parked else self._result

    def _thread(self, work: Callable[[], object]) -> None:
        try:
            self._result = work()
        except (Killed, EngineFault, StoreError, StorageError) as error:
            logging.getLogger(__name__).info("%s ends its work: %r", self.name, error)
        except BaseException as error:  # handed to the test
            self._error = error
        finally:
            self._back.release()


class _Port:
    def __init__(self, port: object, process: Process) -> None:
        self._port = port
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return partial(self._process.call, name, getattr(self._port, name))


class _Drain(threading.Event):
    """The wish that a process stops. Whoever waits with it waits for a server: the process stands still."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process

    def wait(self, timeout: float | None = None) -> bool:
        del timeout
        if not self.is_set():
            self._process.park("waiting for a server")
        return self.is_set()


class ObjectStore(FakeStorage):
    """Notes the jobs whose manifest was overtaken: a worker that stood still has put an older one over a newer one.

    It puts the newest right afterwards. Only if it dies in between, or Redis is lost then, the older one stays.
    """

    def __init__(self) -> None:
        super().__init__()
        self.overtaken = set[str]()

    def delete_prefix(self, prefix: str) -> int:
        """The upload with which jobs begin is never too old."""
        count = super().delete_prefix(prefix)
        put_picture(self)
        return count

    def put(self, key: str, data: bytes, content_type: str) -> None:
        if (job_id := job_id_of_manifest(key)) is not None:
            before = record_from_manifest(self.objects[key]) if key in self.objects else None
            older = before is not None and record_from_manifest(data).revision < before.revision
            (self.overtaken.add if older else self.overtaken.discard)(job_id)
        super().put(key, data, content_type)


FENCED = frozenset(
    {
        *("commit_prepare", "commit_chunk", "commit_and_claim", "commit_refined", "commit_repair", "repair", "finish"),
        "commit_measurement",
    }
)


class Server:
    """A store, outbox or lock in Redis as its clients meet it: there, away, or deaf. Notes changes by stale tokens."""

    def __init__(self, real: object, life: Service) -> None:
        self._real = real
        self._life = life

    def __getattr__(self, name: str) -> Any:
        return partial(self._asked, name, getattr(self._real, name))

    def _asked(self, name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._life.mode == "away":
            raise StoreUnavailable("Redis is away")
        newest = self._newest(args[0]) if name in FENCED else None
        result = method(*args, **kwargs)
        is_repeated = name == "commit_and_claim" and newest is not None and is_kept(newest, args[0])
        if newest is not None and newest.token != args[0].token and not is_repeated:
            self._life.fence_broken.append(f"{name} with token {args[0].token}, the newest was {newest.token}")
        if self._life.mode == "deaf":
            raise StoreUnavailable("the answer is lost")
        return result

    def _newest(self, lease: Lease) -> LaneState | None:
        record = self._life.record(lease.job_id)
        return record.lane(lease.lane) if record else None


class _Lock:
    """worker.maintenance.janitor.JanitorLock of one janitor."""

    def __init__(self, service: Service, process: Process) -> None:
        self._service = service
        self._real = RedisJanitorLock(service.redis)
        self._asked = process.port(Server(self._real, service))

    @contextmanager
    def exclusive(self) -> Generator[bool]:
        if self._service.mode != "up":
            raise StoreUnavailable("Redis is away")
        with self._real.exclusive() as mine:
            yield mine

    def manifests_read(self) -> bool:
        return self._asked.manifests_read()

    def begin_reading(self) -> None:
        self._asked.begin_reading()

    def mark_manifests_read(self) -> bool:
        return self._asked.mark_manifests_read()


class FaultyEngine(FakeEngine):
    """Fails the next chunk where it is told to; `note` gets every failure."""

    def __init__(self, worker: Worker | None = None) -> None:
        super().__init__(steps_per_chunk=1, height=SIDE, width=SIDE)
        self._worker = worker

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        made = super().next_chunk(spec, state, on_step, inputs)
        if self._worker is not None:
            self._worker.fail_if_due(spec)
        return made


class FaultyRefineEngine(FakeRefineEngine):
    """The same for windows and steps of the refiner."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker

    def refine_window(self, spec: JobSpec, state: RefineState, frames: FramesTHWC, on_step: OnStep) -> RefinedWindow:
        self._worker.fail_if_due(spec)
        return super().refine_window(spec, state, frames, on_step)

    def step_lockstep(self, spec: JobSpec, state: RefineState, on_step: OnStep) -> RefineState:
        self._worker.fail_if_due(spec)
        return super().step_lockstep(spec, state, on_step)


class FaultyMeasure:
    """A Measure whose values are the sums of what it was given. Fails where it is told to."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def __call__(self, request: MeasureRequest, check: Callable[[], None]) -> Measured:
        check()
        self._worker.fail_measuring_if_due()
        return {variant: measured_of(file.read_bytes()) for variant, file in request.videos.items()}


def measured_of(video: bytes) -> MeasuredVideo:
    """What FaultyMeasure says of a video."""
    return MeasuredVideo(num_frames=1, flow="dis", values={}, curves={}, notes=(hashlib.sha256(video).hexdigest(),))


class Worker:
    """A slot for worker processes, one after the other: it makes chunks, refines, finalises and measures."""

    def __init__(self, service: Service, slot: str) -> None:
        self._service = service
        self._slot = slot
        self._generation = 0
        self.engine_fails = False
        self.measuring_fails = False
        self._begin()

    def _begin(self) -> None:
        """A fresh process, which remembers nothing."""
        self._generation += 1
        self.process = Process(f"{self._slot}-{self._generation}")
        self.services = self._service.services(self.process)
        self._preparer = MediaPreparer(self.services, InputMediaReader(self.services, decode=decode_media))
        ahead = AtOnce if self._generation % 2 else Late
        self._maker = ChunkMaker(
            self.services, FaultyEngine(self), MODEL, keep_seconds=KEEP_SECONDS, lanes=CHUNK_LANES, in_background=ahead
        )
        self._refiner = ChunkRefiner(self.services, lambda: FaultyRefineEngine(self), MODEL)

    def work(self, lane: Lane, stop: Stop | None = None) -> object:
        """One piece on a lane."""
        works: dict[Lane, Callable[[], Outcome]] = {
            Lane.PREPARE: self._preparer.work,
            Lane.GENERATE: self._maker.work,
            Lane.REFINE: self._refiner.work,
            Lane.FINALIZE: lambda: Finalizer(self.services).work(),
            Lane.MEASURE: self._measurer().work,
        }
        return self.process.run(works[lane], stop)

    def _measurer(self) -> Measurer:
        named = replace(self.services, worker=measuring_name(self.process.name))
        return Measurer(named, FaultyMeasure(self))

    def die(self, *, given_back: bool) -> None:
        """`given_back`: its supervisor is alive and sees to the lease. Another process takes its place."""
        name = self.process.name
        self.process.die()
        if given_back:
            service = self._service
            for each in (name, measuring_name(name)):
                release_lease_of(service.store_port, FakeWorkerRegistry(service.clock), service.queue, each)
        self._begin()

    def stop(self) -> None:
        """SIGTERM: it gives back what it has in hand. Where it cannot, it stands still until it is killed."""
        self.process.drain.set()
        if self.process.parked:
            self.process.go_on()
        self.process.die()
        self._begin()

    def fail_if_due(self, spec: JobSpec) -> None:
        if self.engine_fails:
            self.engine_fails = False
            self._service.engine_failures.append(spec.metadata["job"])
            raise EngineFault("the engine has failed")

    def fail_measuring_if_due(self) -> None:
        if self.measuring_fails:
            self.measuring_fails = False
            self._service.measuring_failures += 1
            raise EngineFault("measuring has failed")


@dataclass
class Service:
    """All that the processes share. `redis` is empty."""

    redis: redis.Redis
    clock: FakeClock = field(default_factory=FakeClock)
    storage: ObjectStore = field(default_factory=ObjectStore)
    queue: FakeTaskQueue = field(default_factory=FakeTaskQueue)
    settings: Settings = field(default_factory=lambda: Settings(lease_ttl_seconds=LONG_SECONDS, max_attempts=3))
    mode: StoreMode = "up"
    fence_broken: list[str] = field(default_factory=list[str])
    engine_failures: list[str] = field(default_factory=list[str])
    """Ids of the jobs, once for each failure."""
    measuring_failures: int = 0
    received: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Webhooks that have arrived: what each told of."""
    settled: set[str] = field(default_factory=set[str])
    """Those that have arrived or were given up."""

    def __post_init__(self) -> None:
        retention = self.settings.retention_seconds
        self.view = RedisJobStore(self.redis, self.clock, retention_seconds=retention)
        """For the test's own eyes: never away, rebuilds nothing."""
        self.store = RedisJobStore(
            self.redis, self.clock, retention_seconds=retention, rebuild=RecordRebuilder(self.storage)
        )
        self.store_port = cast("Any", Server(self.store, self))
        self.outbox = RedisOutbox(self.redis, now=self.clock.now)
        self.log = RedisEventLog(self.redis)
        put_picture(self.storage)
        self.workers = {slot: Worker(self, slot) for slot in ("w1", "w2")}
        self.others = {name: Process(name) for name in ("api", "janitor", "sender")}

    def services(self, process: Process) -> Services:
        """The ports as `process` has them."""
        return Services(
            process.port(self.store_port),
            process.port(self.storage),
            RedisUploadStore(self.redis),
            process.port(self.queue),
            self.clock,
            self.settings,
            process.name,
            RedisSpeeds(self.redis),
            RedisPauses(self.redis),
            process.drain,
        )

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
        process.run(Janitor(self.services(process), _Lock(self, process)).run, stop)

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

    def leases_run_out(self) -> None:
        """Also pauses after failures, and the lock of a janitor that has died."""
        found = [*self.redis.scan_iter("longtake:job:*:lease:*", count=1000), "longtake:janitor:lock"]
        self.redis.delete(*found)

    def wipe(self) -> None:
        """Redis loses everything, the broker's messages as well."""
        self.redis.flushall()
        self.queue.messages.clear()

    def take_messages(self, slot: str) -> None:
        """Do what the waiting messages ask for, until none waits."""
        lanes = {task: lane for lane, task in queue.TASK_OF_LANE.items()}
        while (message := self.queue.take()) is not None:
            if message.task in lanes:
                self.workers[slot].work(lanes[message.task])

    # What can be seen

    def record(self, job_id: str) -> JobRecord | None:
        """As it lies in Redis, deleted or not."""
        row = job_rows.read_row(self.redis, job_id)
        return None if row is None else job_rows.parse_row(job_id, row)[0]

    def chunks(self, job_id: str, variant: Variant) -> list[ChunkRecord]:
        """As they lie in Redis."""
        return chunk_lists.parse_chunks(job_id, self.redis.lrange(keys.chunks_key(job_id, variant), 0, -1))  # pyright: ignore[reportArgumentType]

    def manifest(self, job_id: str) -> JobRecord | None:
        data = self.storage.objects.get(manifest_key(job_id))
        return None if data is None else record_from_manifest(data)

    def events(self, job_id: str) -> list[JobEvent]:
        return [*self.log.read(job_id)]

    def stale(self) -> set[str]:
        return set(cast("list[str]", self.redis.zrange(keys.STALE_MANIFESTS, 0, -1)))

    def traces(self, job_id: str) -> list[str]:
        """Every key and object that has the job's name."""
        found = [key for key in self.storage.objects if job_id in key]
        return [*found, *self.redis.scan_iter(f"*{job_id}*", count=1000)]


WEBHOOKS: dict[str, Any] = {
    "webhook_url": "https://receiver.example/",
    "webhook_events": (
        *("job.succeeded", "job.failed", "job.canceled", "job.measured"),
        *("chunk.completed", "chunk.refined"),
    ),
}
PICTURE = f"{UPLOAD_ID_PREFIX}{'a' * 20}"
"""An upload that is there for all jobs, and for ever: nobody but this module knows of it."""
REQUESTS: dict[Kind, dict[str, Any]] = {
    "plain": {"num_frames": 40},
    "streaming": {"num_frames": 40, "refine": refine_spec(num_inference_steps=1)},
    "lockstep": {"num_frames": 25, "refine": refine_spec(num_inference_steps=2, schedule="lockstep")},
    "picture": {"num_frames": 32, "image": PICTURE},
}
SEEDS = (3, 500)
"""Two jobs of a kind with different pictures, so that one's bytes are never taken for the other's."""


def new_job(number: int, kind: Kind, clock: FakeClock, *, webhooks: bool, measure: bool) -> JobRecord:
    job_id = f"job_{number}"
    spec = job_spec(**REQUESTS[kind], seed=SEEDS[number % 2], metadata={"job": job_id}, measure=measure)
    spec = spec.model_copy(update=WEBHOOKS) if webhooks else spec
    return JobRecord(id=job_id, status=JobStatus.QUEUED, spec=spec, created_at=clock.now())


def put_picture(storage: FakeStorage) -> None:
    """What jobs of the kind `picture` begin with."""
    storage.put(upload_key(PICTURE), picture((200, 100, 50), size=(SIDE, SIDE)), "image/png")


@dataclass(frozen=True)
class BaselineVideos:
    """Bytes of a job to which nothing happens."""

    chunks: tuple[bytes, ...]
    refined: tuple[bytes, ...]
    video: bytes
    refined_video: bytes | None


@cache
def baseline(kind: Kind, seed: int) -> BaselineVideos:
    world = World()
    put_picture(world.storage)
    spec = world.submit("job_baseline", **REQUESTS[kind], seed=seed).spec
    world.work(world.maker(FaultyEngine()))
    record, objects = world.store.get("job_baseline"), world.storage.objects
    assert record.status is JobStatus.SUCCEEDED, record
    return BaselineVideos(
        tuple(objects[chunk.key] for chunk in world.chunks(record.id)),
        tuple(objects[chunk.key] for chunk in world.refined(record.id)),
        objects[video_key(record.id)],
        objects[refined_video_key(record.id)] if spec.refine else None,
    )


def durable_fields(record: JobRecord) -> JobRecord:
    """What a record and its manifest must have in common."""
    ended = record.webhooks_ended if record.status.is_terminal else 0
    return record.model_copy(update={"lanes": {}, "webhooks_ended": ended})
