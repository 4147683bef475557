"""The thread that sends webhooks on a CPU worker. What it does is in delivery_loop.py."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import threading
from collections.abc import Callable

import httpx

from core.service.domain.ports import ApiKeys, Clock, JobStore, Outbox
from core.service.net.resolver import WORKER_SECONDS, BoundedResolver
from core.service.settings import Settings
from worker.webhooks.delivery_loop import DeliveryLoop
from worker.webhooks.post import LookUp, Poster, look_up_with
from worker.webhooks.signing import SigningSecrets
from worker.webhooks.store_calls import STORE_PAUSE_SECONDS

logger = logging.getLogger(__name__)


class WebhookSender:
    """Delivers due webhooks from `start` to `request_stop`. `jitter` returns 0 to 1, see retry_delay_seconds."""

    def __init__(
        self,
        outbox: Outbox,
        store: JobStore,
        clock: Clock,
        settings: Settings,
        keys: ApiKeys,
        *,
        look_up: LookUp | None = None,
        tls: ssl.SSLContext | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        resolver = BoundedResolver.of(settings, WORKER_SECONDS)
        tls = tls or httpx.create_ssl_context(trust_env=False)
        poster = Poster(settings, look_up or look_up_with(resolver, settings), tls)
        secrets = SigningSecrets(keys, settings, clock)
        self._loop_arguments = (outbox, store, clock, settings, secrets, poster, jitter)
        self._loop: DeliveryLoop | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> WebhookSender:
        self._thread.start()
        return self

    def wake(self) -> None:
        """A webhook may be due."""
        with self._lock:
            if self._loop is not None:
                self._loop.wake()

    def request_stop(self) -> None:
        """Take no more and give back what waits. Requests in progress end within their timeout."""
        self._stopping.set()
        with self._lock:
            if self._loop is not None:
                self._loop.stop()

    def join(self, timeout_seconds: float) -> None:
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(self._deliver())
            except Exception:  # the thread's outermost frame: a new loop may succeed
                logger.exception("the webhook sender failed")
                self._stopping.wait(STORE_PAUSE_SECONDS)

    async def _deliver(self) -> None:
        loop = DeliveryLoop(*self._loop_arguments)
        with self._lock:
            self._loop = loop
            if self._stopping.is_set():
                return
        try:
            await loop.run()
        finally:
            with self._lock:
                self._loop = None
