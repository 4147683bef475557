"""All fakes by one name: in-memory twins of every port, with the same contract. One module for each kind is beside."""

from core.service.testing.clock import FAKE_START, FakeClock
from core.service.testing.engines import FakeEngine, FakeRefineEngine
from core.service.testing.event_log import FakeEventLog
from core.service.testing.job_store import FAKE_RETENTION_SECONDS, FakeJobStore
from core.service.testing.outbox import FakeOutbox
from core.service.testing.queue import FakeTaskQueue, SentMessage
from core.service.testing.registries import FakeUploadStore, FakeWorkerRegistry
from core.service.testing.storage import PIECE_BYTES, FakeObjectReader, FakeStorage

__all__ = [
    "FAKE_RETENTION_SECONDS",
    "FAKE_START",
    "PIECE_BYTES",
    "FakeClock",
    "FakeEngine",
    "FakeEventLog",
    "FakeJobStore",
    "FakeObjectReader",
    "FakeOutbox",
    "FakeRefineEngine",
    "FakeStorage",
    "FakeTaskQueue",
    "FakeUploadStore",
    "FakeWorkerRegistry",
    "SentMessage",
]
