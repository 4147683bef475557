"""The ports: what the service needs of a job store, an object store, a task queue and a clock, as Protocols.

Implementations: `core.service.redis`, `core.service.s3`. Fakes with the same contract: `core.service.testing`.
"""

from core.service.domain.ports.api_keys import ApiKeys
from core.service.domain.ports.clock import Clock
from core.service.domain.ports.deliveries import Deliveries, DeliveryPage
from core.service.domain.ports.events import EventLog, JobUpdates, LogPosition
from core.service.domain.ports.idempotency import IdempotencyKeys, Reservation
from core.service.domain.ports.job_store import JobStore
from core.service.domain.ports.job_values import (
    JobCounts,
    JobPage,
    Lease,
    LiveStatus,
    Look,
    QueuedJobs,
    QueuedWork,
    Results,
    Steered,
)
from core.service.domain.ports.outbox import Delivery, DeliveryAttempt, Outbox
from core.service.domain.ports.pauses import EVERYTHING, Pauses, PauseTarget, widest
from core.service.domain.ports.prompt_enhancer import PromptEnhancer
from core.service.domain.ports.speeds import SpeedOf, Speeds
from core.service.domain.ports.storage import ObjectPart, ObjectReader, Storage, StoredObject
from core.service.domain.ports.task_queue import TaskQueue
from core.service.domain.ports.uploads import Discarded, UploadStore
from core.service.domain.ports.usage import RequestCounts, Usage
from core.service.domain.ports.work_reads import Made, MadeLately, PieceInWork, Totals, WaitingJobs, WorkReads
from core.service.domain.ports.workers import (
    WorkerKind,
    WorkerRegistry,
    WorkerState,
    WorkerStatus,
    measuring_name,
    media_thread_names,
    names_of,
)

__all__ = [
    "EVERYTHING",
    "ApiKeys",
    "Clock",
    "Deliveries",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryPage",
    "Discarded",
    "EventLog",
    "IdempotencyKeys",
    "JobCounts",
    "JobPage",
    "JobStore",
    "JobUpdates",
    "Lease",
    "LiveStatus",
    "LogPosition",
    "Look",
    "Made",
    "MadeLately",
    "ObjectPart",
    "ObjectReader",
    "Outbox",
    "PauseTarget",
    "Pauses",
    "PieceInWork",
    "PromptEnhancer",
    "QueuedJobs",
    "QueuedWork",
    "RequestCounts",
    "Reservation",
    "Results",
    "SpeedOf",
    "Speeds",
    "Steered",
    "Storage",
    "StoredObject",
    "TaskQueue",
    "Totals",
    "UploadStore",
    "Usage",
    "WaitingJobs",
    "WorkReads",
    "WorkerKind",
    "WorkerRegistry",
    "WorkerState",
    "WorkerStatus",
    "measuring_name",
    "media_thread_names",
    "names_of",
    "widest",
]
