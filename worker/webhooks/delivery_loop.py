"""Delivers webhooks from the outbox on one event loop, each in a task of its own.

Every delivery has its own deadline and is recorded as soon as it ends, so none waits for another, except for an earlier
one of the same job. Taken deliveries are held for seconds and the hold is renewed while they wait or run: those of a
killed sender are due again at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus

from core.service.domain import webhooks
from core.service.domain.errors import StoreError
from core.service.domain.ports import Clock, Delivery, DeliveryAttempt, JobStore, Outbox
from core.service.domain.schema import DeliveryState
from core.service.logs import working_on
from core.service.net.address_guard import host_and_port
from core.service.net.resolver import LookupsBusy
from core.service.settings import Settings
from core.service.tracing import fail, span
from worker import metrics
from worker.runtime.server_retry import FINAL_ERRORS
from worker.webhooks.ended_notes import EndedNotes
from worker.webhooks.fair_queue import AddressBusy, FairQueue, Limits, QueueKey, ReturnTimes
from worker.webhooks.post import Answer, Poster
from worker.webhooks.signing import SigningSecrets
from worker.webhooks.store_calls import StoreCalls

logger = logging.getLogger(__name__)

BATCH_SIZE = 128
"""Deliveries taken from the outbox at a time."""
POLL_SECONDS = 1.0
"""Time between two looks at the outbox unless woken."""
HOLD_SECONDS = 6.0
RENEW_SECONDS = 1.5
BUSY_SECONDS = 3.0
"""Delay of a delivery whose address or name look-up had no room."""
DAMAGED_SECONDS = 600.0
"""Delay of a delivery whose outcome the store cannot record although it works."""
RETURN_STEP_SECONDS = 0.25
GIVEN_BACK = (AddressBusy, LookupsBusy)
"""What ends an attempt before anything is sent: the delivery goes back to the outbox."""
OUTBOX_THREADS = 4
KEY_THREADS = 2
"""Keys that Redis has lost are read from the object store: no hold must wait for that."""


class DeliveryLoop:
    """The sender's state on one event loop. Only `wake` and `stop` may be called from other threads."""

    def __init__(
        self,
        outbox: Outbox,
        store: JobStore,
        clock: Clock,
        settings: Settings,
        secrets: SigningSecrets,
        poster: Poster,
        jitter: Callable[[], float],
    ) -> None:
        self._outbox, self._clock, self._secrets, self._poster, self._jitter = outbox, clock, secrets, poster, jitter
        self._queue = FairQueue[Delivery](
            Limits(
                settings.webhook_concurrency,
                settings.webhook_concurrency_per_receiver,
                settings.webhook_concurrency_per_domain,
                settings.webhook_concurrency_per_address,
            )
        )
        self._return_times = ReturnTimes()
        self._held: dict[str, Delivery] = {}
        self._recording: set[str] = set()
        """Held deliveries whose outcome is being written. In the outbox they may have ended already."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._calls = StoreCalls("outbox", OUTBOX_THREADS)
        self._key_calls = StoreCalls("webhook-keys", KEY_THREADS)
        self._notes = EndedNotes(store, self._calls)
        self._woken = asyncio.Event()
        self._stopping = False
        self._away = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def wake(self) -> None:
        """A webhook may be due."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._woken.set)

    def stop(self) -> None:
        self._stopping = self._calls.stopping = self._key_calls.stopping = True
        self.wake()

    async def run(self) -> None:
        """Deliver until `stop`."""
        self._loop = asyncio.get_running_loop()
        renewing = asyncio.create_task(self._renew_holds())
        try:
            while not self._stopping:
                found = await self._take()
                self._start()
                if not found:
                    await self._wait()
            await self._end()
        finally:
            left = [renewing, *self._tasks.values(), *self._notes.tasks]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            self._calls.close()
            self._key_calls.close()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._woken.wait()
        self._woken.clear()

    async def _end(self) -> None:
        """Give back what waits; requests in progress have their deadline."""
        waiting = self._queue.remove_all()
        with suppress(StoreError):
            await self._calls.once(lambda: self._outbox.give_back(waiting))
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.gather(*self._notes.tasks, return_exceptions=True)

    # --- taking and holding ------------------------------------------------------------------------------------------

    async def _take(self) -> bool:
        """Take due deliveries; whether there were any. Those without room go back, so that they block no other."""
        try:
            due = await self._calls.once(lambda: self._outbox.take_due(BATCH_SIZE, HOLD_SECONDS))
            self._away = False
            await self._enqueue(due)
        except StoreError as error:
            logger.log(logging.DEBUG if self._away else logging.WARNING, "webhooks wait: %s", error.message)
            self._away = True
            return False
        return bool(due)

    async def _enqueue(self, due: Sequence[Delivery]) -> None:
        """Queue each delivery, or give it back if its limit is full; those due in the same step in one call."""
        back = defaultdict[int, list[Delivery]](list)
        for delivery in due:
            key = _key_of(delivery)
            if delivery.id in self._held:
                continue  # the hold was lost for a moment, but the delivery is still in progress
            if (full := self._queue.full(key)) is None:
                self._held[delivery.id] = delivery
                self._queue.add(key, delivery)
                self._start()  # which makes room for the next
            else:
                delay = self._return_times.delay_seconds(full, time.monotonic())
                back[round(delay / RETURN_STEP_SECONDS)].append(delivery)
        for steps, rows in back.items():
            give_back = partial(self._outbox.give_back, rows, steps * RETURN_STEP_SECONDS)
            await self._calls.once(give_back)

    async def _renew_holds(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._renew_all()
            except StoreError:
                continue  # logged by _take; no other sender can take them now either
            except Exception:  # this task's boundary: without renewals two senders would send the same
                logger.exception("renewing the holds on webhooks failed")

    async def _renew_all(self) -> None:
        """Renew every hold. A delivery whose hold was lost may be another sender's: it is dropped here."""
        ours = list(self._held.values())
        still = await self._calls.once(lambda: self._outbox.hold(ours, HOLD_SECONDS))
        held = {row.id for row in still}
        lost = [row for row in ours if row.id not in held and row.id in self._held and row.id not in self._recording]
        for delivery in lost:
            self._drop(delivery)
        if lost:
            await self._calls.once(lambda: self._outbox.give_back(lost))

    def _drop(self, delivery: Delivery) -> None:
        logger.warning("webhook %s: the hold on it was lost", delivery.id)
        self._held.pop(delivery.id, None)
        self._queue.remove(_key_of(delivery), delivery)
        if (task := self._tasks.get(delivery.id)) is not None:
            task.cancel()

    # --- sending -----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._stopping:
            return
        for key, delivery in self._queue.start():
            task = self._tasks[delivery.id] = asyncio.create_task(self._deliver(delivery))
            task.add_done_callback(partial(self._finished, delivery.id, key))

    def _finished(self, delivery_id: str, key: QueueKey, _task: asyncio.Task[None]) -> None:
        self._held.pop(delivery_id, None)
        self._recording.discard(delivery_id)
        self._tasks.pop(delivery_id, None)
        self._queue.finish(key)
        self._start()
        self._woken.set()  # the next delivery of the job may be due

    async def _deliver(self, delivery: Delivery) -> None:
        """One delivery, from the attempt to its record. No exception leaves: others must not be affected."""
        try:
            with working_on(None if delivery.is_ping else delivery.job_id):
                await self._attempt_and_record(delivery)
        except FINAL_ERRORS as error:  # due at once, it would be sent again and again
            logger.error("webhook %s: its outcome cannot be recorded: %s", delivery.id, error.message)
            with suppress(StoreError):
                await self._calls.once(lambda: self._outbox.give_back([delivery], DAMAGED_SECONDS))
        except Exception:  # a task's boundary: the hold ends, and the delivery is due again
            logger.exception("webhook %s: the outcome was not recorded", delivery.id)

    async def _attempt_and_record(self, delivery: Delivery) -> None:
        secret = await self._secret_of(delivery)
        at, started = self._clock.now(), time.perf_counter()
        try:
            answer = await self._post(delivery, secret, at)
        except GIVEN_BACK:
            self._recording.add(delivery.id)
            await self._calls.retried(lambda: self._outbox.give_back([delivery], self._busy_seconds(delivery)))
            return
        except Exception as error:  # whatever a receiver causes is a failed attempt of this delivery
            logger.exception("webhook %s: unexpected error of an attempt", delivery.id)
            answer = Answer(error=f"the attempt failed: {type(error).__name__}")
        seconds = round(time.perf_counter() - started, 3)
        attempt = DeliveryAttempt(at=at, status_code=answer.status_code, error=answer.error, duration_seconds=seconds)
        await self._record(delivery, attempt, answer)

    async def _post(self, delivery: Delivery, secret: str, at: datetime) -> Answer:
        """Poster.post in a span of the job's trace; the receiver gets that as `traceparent`. An attempt that is given
        back before anything was sent has none; one that is cancelled because its hold was lost may have been sent."""
        if delivery.trace is None:
            return await self._poster.post(delivery, secret, at, self._queue.hold_addresses)
        number = len(delivery.attempts) + 1
        attributes = {"longtake.job": delivery.job_id, "longtake.attempt": number}
        with span("webhook", delivery.trace, attributes, not_begun=GIVEN_BACK) as current:
            answer = await self._poster.post(delivery, secret, at, self._queue.hold_addresses)
            if current is not None and answer.status_code is not None:
                current.set_attribute("http.response.status_code", answer.status_code)
            if not 200 <= (answer.status_code or 0) < 300:
                fail(current, "not delivered")
            return answer

    async def _secret_of(self, delivery: Delivery) -> str:
        known = self._secrets.known(delivery)
        return await self._key_calls.retried(lambda: self._secrets.of(delivery)) if known is None else known

    def _busy_seconds(self, delivery: Delivery) -> float:
        return max(BUSY_SECONDS, self._return_times.delay_seconds(_key_of(delivery).owner, time.monotonic()))

    async def _record(self, delivery: Delivery, attempt: DeliveryAttempt, answer: Answer) -> None:
        after, delay_seconds = after_attempt(delivery, attempt, answer, self._clock.now(), self._jitter())
        self._recording.add(delivery.id)
        metrics.webhook_attempted(after.state, attempt.duration_seconds)
        logger.info("webhook %s: %s (%s)", delivery.id, after.state, answer.error or answer.status_code)
        num_ended = await self._calls.retried(lambda: self._outbox.record(after, delay_seconds))
        if after.state != "pending" and not delivery.is_ping:
            self._notes.note(delivery.job_id, num_ended)


def _key_of(delivery: Delivery) -> QueueKey:
    host, port = host_and_port(delivery.url) or ("", 0)
    return QueueKey.of(host, port, is_retry=bool(delivery.attempts))


def after_attempt(
    delivery: Delivery, attempt: DeliveryAttempt, answer: Answer, now: datetime, jitter: float
) -> tuple[Delivery, float]:
    """The delivery with this attempt added, and the seconds until the next one is due. `jitter` is 0 to 1.

    One that was delivered once stays so, whatever becomes of sending it again."""
    attempts = (*delivery.attempts, attempt)
    state: DeliveryState = "pending"
    delay_seconds = None if delivery.once else webhooks.retry_delay_seconds(len(attempts), jitter)
    if answer.status_code is not None and 200 <= answer.status_code < 300:
        state = "delivered"
    elif answer.status_code == HTTPStatus.GONE:
        state = "delivered" if delivery.was_delivered else "disabled"
    elif delay_seconds is None:
        state = "delivered" if delivery.was_delivered else "failed"
    pause_seconds = max(delay_seconds or 0.0, answer.retry_after_seconds)
    due = now + timedelta(seconds=pause_seconds) if state == "pending" else None
    return delivery.model_copy(update={"state": state, "attempts": attempts, "next_attempt_at": due}), pause_seconds
