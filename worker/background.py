"""The threads of a CPU worker process beside its Celery consumer: janitor, webhook sender, media preparer, measurer,
key check.

They are threads of their own so that a slow receiver, a slow server or a long clean-up never delays a final video.
"""

from __future__ import annotations

import logging

import redis

from core.service.redis.api_keys import StoredApiKeys
from core.service.redis.outbox import RedisOutbox
from worker.lanes.measure import MeasuringLoop
from worker.lanes.prepare import PreparePool
from worker.maintenance.janitor import Janitor
from worker.maintenance.janitor_lock import RedisJanitorLock
from worker.runtime.services import Services
from worker.runtime.thread_shutdown import stop_together
from worker.runtime.ticker import Ticker
from worker.webhooks.sender import WebhookSender

STOP_SECONDS = 5.0
"""Of what releases its leases when the process drains."""
MEASURE_SECONDS = 5.0
"""Between looks for videos to measure: a message wakes only one CPU worker, which may be measuring already."""
KEY_CHECK_SECONDS = 300.0
"""Between looks for keys that a Redis restored from a backup lacks: each lists all objects of keys."""

logger = logging.getLogger(__name__)


class BackgroundThreads:
    """Each has `wake`, which a Celery task calls when there may be work."""

    def __init__(self, services: Services, records: redis.Redis) -> None:
        settings = services.settings
        janitor = Janitor(services, RedisJanitorLock(records))
        self.janitor = Ticker("janitor", settings.janitor_interval_seconds, janitor.run)
        api_keys = StoredApiKeys(records, services.storage)
        self.key_check = Ticker("api-keys", KEY_CHECK_SECONDS, lambda: _catch_up(api_keys))
        self.webhook_sender = WebhookSender(RedisOutbox(records), services.store, services.clock, settings, api_keys)
        self.media_preparer = PreparePool(services)
        self.measurer = Ticker("measure", MEASURE_SECONDS, MeasuringLoop(services).run)
        self._request_seconds = settings.webhook_timeout_seconds

    def start(self) -> None:
        for one in (self.webhook_sender, self.janitor, self.media_preparer, self.measurer, self.key_check):
            one.start()

    def stop(self) -> None:
        """Returns when all have stopped; a webhook request in progress may take its whole timeout."""
        seconds = self._request_seconds
        of_requests = dict.fromkeys((self.webhook_sender, self.janitor, self.key_check), seconds)
        stop_together({self.media_preparer: STOP_SECONDS, self.measurer: STOP_SECONDS, **of_requests})


def _catch_up(api_keys: StoredApiKeys) -> None:
    """Raises StoreError, StorageError."""
    if count := api_keys.catch_up():
        logger.warning("Redis lacked %d API keys or revocations; they were taken from the object store", count)
