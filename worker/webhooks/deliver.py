"""Sends webhooks from the outbox, each as a task of its own on one event loop. Runs on CPU workers only.

A delivery has its own deadline, its own errors and its own record, written as soon as it has ended: none waits for
another, but for an earlier one of its job. What is taken is held for seconds, and held on to while it waits or is on
its way: a killed sender's come back at once. Knows the outbox by its port, and HTTP only by post.py.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, TypeVar

import httpx

from core.service.domain import webhooks
from core.service.domain.errors import JobNotFound, StoreError
from core.service.domain.ports import Clock, Delivery, DeliveryAttempt, JobStore, Outbox
from core.service.net.address_guard import host_and_port
from core.service.net.resolver import WORKER_SECONDS, BoundedResolver, LookupsBusy
from core.service.settings import Settings
from worker.runtime.server_retry import ANSWERS
from worker.webhooks.post import Answer, LookUp, Poster, look_up_with
from worker.webhooks.shares import AddressBusy, Line, Lines, Returns, Shares

logger = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_SIZE = 128
"""Taken from the outbox at a time."""
LOOK_SECONDS = 1.0
"""Pause between two looks at the outbox where nobody has woken the sender."""
HOLD_SECONDS = 6.0
RENEW_SECONDS = 1.5
LATER_SECONDS = 3.0
"""After this a delivery is taken again whose address, or whose name's look-up, has found no room."""
DAMAGED_SECONDS = 600.0
"""After this one is sent again whose outcome the store cannot keep, though it works."""
RETURN_STEP_SECONDS = 0.25
STORE_PAUSE_SECONDS = 1.0
OUTBOX_THREADS = 4
GONE = 410


class WebhookSender:
    """Delivers what is due, in a thread of its own between `start` and `stop`."""

    def __init__(
        self,
        outbox: Outbox,
        store: JobStore,
        clock: Clock,
        settings: Settings,
        *,
        look_up: LookUp | None = None,
        tls: ssl.SSLContext | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        resolver = BoundedResolver.of(settings, WORKER_SECONDS)
        tls = tls or httpx.create_ssl_context(trust_env=False)
        poster = Poster(settings, look_up or look_up_with(resolver, settings), tls)
        self._new_round = lambda: _Round(outbox, store, clock, settings, poster, jitter)
        self._round: _Round | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> WebhookSender:
        self._thread.start()
        return self

    def wake(self) -> None:
        """Something may be due."""
        with self._lock:
            if self._round is not None:
                self._round.wake()

    def stop(self, timeout_seconds: float) -> None:
        """Take no more, give back what waits, and let what is on its way end, for so long at most."""
        self.tell_to_stop()
        self.join(timeout_seconds)

    def tell_to_stop(self) -> None:
        self._stopping.set()
        with self._lock:
            if self._round is not None:
                self._round.stop()

    def join(self, timeout_seconds: float) -> None:
        self._thread.join(timeout_seconds)

    def deliver_due(self) -> int:
        """Deliver until nothing is due and nothing on its way, and return how many tries that took."""
        return asyncio.run(self._new_round().run(until_idle=True))

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(self._rounds())
            except Exception:  # the thread's outermost frame: the next round may do better
                logger.exception("the webhook sender failed")
                self._stopping.wait(STORE_PAUSE_SECONDS)

    async def _rounds(self) -> None:
        one = self._new_round()
        with self._lock:
            self._round = one
            if self._stopping.is_set():
                return
        try:
            await one.run()
        finally:
            with self._lock:
                self._round = None


class _Round:
    """The sender's state on one event loop."""

    def __init__(
        self,
        outbox: Outbox,
        store: JobStore,
        clock: Clock,
        settings: Settings,
        poster: Poster,
        jitter: Callable[[], float],
    ) -> None:
        self._outbox, self._store, self._clock, self._poster, self._jitter = outbox, store, clock, poster, jitter
        self._lines = Lines[Delivery](
            Shares(
                settings.webhook_concurrency,
                settings.webhook_concurrency_per_receiver,
                settings.webhook_concurrency_per_domain,
                settings.webhook_concurrency_per_address,
            )
        )
        self._returns = Returns()
        self._held: dict[str, Delivery] = {}
        self._tried: set[str] = set()
        """Of the held ones those whose outcome is being written: they may be settled already."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended_of: dict[str, int] = {}
        """Of each job whose record is being told of it: how many of its first webhooks have ended."""
        self._notes: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._stopping = False
        self._away = False
        self._num_tries = 0
        # Redis blocks; its calls must not wait behind those of others in the loop's own pool.
        self._threads = ThreadPoolExecutor(OUTBOX_THREADS, "outbox")
        self._loop: asyncio.AbstractEventLoop | None = None

    def wake(self) -> None:
        """From any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended meanwhile
                self._loop.call_soon_threadsafe(self._woken.set)

    def stop(self) -> None:
        """From any thread."""
        self._stopping = True
        self.wake()

    async def run(self, *, until_idle: bool = False) -> int:
        """Deliver until `stop`, or until nothing is due; how many tries that took."""
        self._loop = asyncio.get_running_loop()
        renewing = asyncio.create_task(self._renew())
        try:
            while not self._stopping:
                found = await self._take()
                self._start()
                if until_idle and not found and not self._held:
                    break
                if not found:
                    await self._wait()
            await self._end()
        finally:
            left = [renewing, *self._tasks.values(), *self._notes]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            self._threads.shutdown(wait=False)
        return self._num_tries

    async def _wait(self) -> None:
        """Until LOOK_SECONDS are over or something has changed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._woken.wait()
        self._woken.clear()

    # --- taking and holding ------------------------------------------------------------------------------------------

    async def _take(self) -> bool:
        """Take what is due. Whether there was any. What waits here stops nobody: what has no room goes back."""
        try:
            due = await self._call(lambda: self._outbox.take_due(BATCH_SIZE, HOLD_SECONDS))
            self._away = False
            await self._sort(due)
        except StoreError as error:
            logger.log(logging.DEBUG if self._away else logging.WARNING, "webhooks wait: %s", error.message)
            self._away = True
            return False
        return bool(due)

    async def _sort(self, due: Sequence[Delivery]) -> None:
        """Put each in its line, or back where that is full: all that come back in the same second together."""
        back = defaultdict[int, list[Delivery]](list)
        for delivery in due:
            line = _line_of(delivery)
            if delivery.id in self._held:
                continue  # it was lost for a moment, and is on its way all the same
            if (full := self._lines.full(line)) is None:
                self._held[delivery.id] = delivery
                self._lines.add(line, delivery)
                self._start()  # makes room in its line
            else:
                back[round(self._returns.delay_seconds(full, time.monotonic()) / RETURN_STEP_SECONDS)].append(delivery)
        for steps, rows in back.items():
            await self._call(lambda rows=rows, steps=steps: self._outbox.give_back(rows, steps * RETURN_STEP_SECONDS))

    async def _renew(self) -> None:
        """Keep holding what is held. What somebody else may have by now is let go."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._hold_on()
            except StoreError:
                continue  # told elsewhere; nobody else can take them now either
            except Exception:  # this task's boundary: without it every hold would end, and two would send the same
                logger.exception("holding on to webhooks failed")

    async def _hold_on(self) -> None:
        ours = list(self._held.values())
        still = await self._call(lambda: self._outbox.hold(ours, HOLD_SECONDS))
        held = {row.id for row in still}
        lost = [row for row in ours if row.id not in held and row.id in self._held and row.id not in self._tried]
        for delivery in lost:
            self._let_go(delivery)
        if lost:
            await self._call(lambda: self._outbox.give_back(lost))

    def _let_go(self, delivery: Delivery) -> None:
        logger.warning("webhook %s: the hold on it was lost", delivery.id)
        self._held.pop(delivery.id, None)
        self._lines.remove(_line_of(delivery), delivery)
        if (task := self._tasks.get(delivery.id)) is not None:
            task.cancel()

    async def _end(self) -> None:
        """Give back what waits; what is on its way has its deadline."""
        waiting = self._lines.remove_all()
        with suppress(StoreError):
            await self._call(lambda: self._outbox.give_back(waiting))
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.gather(*self._notes, return_exceptions=True)

    # --- sending -----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._stopping:
            return
        for line, delivery in self._lines.start_next():
            task = self._tasks[delivery.id] = asyncio.create_task(self._deliver(delivery))
            task.add_done_callback(partial(self._ended, delivery.id, line))

    def _ended(self, delivery_id: str, line: Line, _task: asyncio.Task[None]) -> None:
        self._held.pop(delivery_id, None)
        self._tried.discard(delivery_id)
        self._tasks.pop(delivery_id, None)
        self._lines.end(line)
        self._start()
        self._woken.set()  # the next of its job may be due

    async def _deliver(self, delivery: Delivery) -> None:
        """One delivery, from its try to its record. Whatever goes wrong is this one's alone."""
        try:
            await self._try_and_record(delivery)
        except ANSWERS as error:  # at once it would be sent again and again
            logger.error("webhook %s: its outcome cannot be kept: %s", delivery.id, error.message)
            with suppress(StoreError):
                await self._call(lambda: self._outbox.give_back([delivery], DAMAGED_SECONDS))
        except Exception:  # a task's boundary: its hold ends, and it comes back
            logger.exception("webhook %s: nothing could be recorded", delivery.id)

    async def _try_and_record(self, delivery: Delivery) -> None:
        at, started = self._clock.now(), time.perf_counter()
        try:
            answer = await self._poster.post(delivery, at, self._lines.at_addresses)
        except (AddressBusy, LookupsBusy):
            self._tried.add(delivery.id)
            await self._patiently(lambda: self._outbox.give_back([delivery], self._busy_seconds(delivery)))
            return
        except Exception as error:  # whatever a receiver has brought about is a failed try of this delivery
            logger.exception("webhook %s: a try failed in a way that nobody has foreseen", delivery.id)
            answer = Answer(error=f"the try failed: {type(error).__name__}")
        seconds = round(time.perf_counter() - started, 3)
        self._num_tries += 1
        attempt = DeliveryAttempt(at=at, status_code=answer.status_code, error=answer.error, duration_seconds=seconds)
        await self._record(delivery, attempt, answer)

    def _busy_seconds(self, delivery: Delivery) -> float:
        return max(LATER_SECONDS, self._returns.delay_seconds(_line_of(delivery).owner, time.monotonic()))

    async def _record(self, delivery: Delivery, attempt: DeliveryAttempt, answer: Answer) -> None:
        after, delay_seconds = after_attempt(delivery, attempt, answer, self._clock.now(), self._jitter())
        self._tried.add(delivery.id)
        logger.info("webhook %s: %s (%s)", delivery.id, after.state, answer.error or answer.status_code)
        ended = await self._patiently(lambda: self._outbox.record(after, delay_seconds))
        if after.state != "pending":
            self._note_ended(delivery.job_id, ended)

    def _note_ended(self, job_id: str, ended: int) -> None:
        """In the job's record, so that a lost Redis does not send again what has arrived. The record of a long job is
        large: while one number is being written newer ones wait, and only the newest of them is written."""
        is_being_written = job_id in self._ended_of
        self._ended_of[job_id] = ended
        if not is_being_written:
            task = asyncio.create_task(self._write_ended(job_id))
            self._notes.add(task)
            task.add_done_callback(self._notes.discard)

    async def _write_ended(self, job_id: str) -> None:
        written = -1
        try:
            while (ended := self._ended_of[job_id]) > written:
                await self._patiently(lambda ended=ended: self._store.end_webhooks(job_id, ended))
                written = ended
        except (JobNotFound, StoreError) as error:
            logger.info("%s: not noted that webhooks have ended: %s", job_id, error.message)
        finally:
            del self._ended_of[job_id]

    async def _patiently(self, work: Callable[[], T]) -> T:
        """A store that is away is waited for, unless the sender shall stop: the receiver need not hear it twice."""
        while True:
            try:
                return await self._call(work)
            except ANSWERS:
                raise
            except StoreError:
                if self._stopping:
                    raise
                await asyncio.sleep(STORE_PAUSE_SECONDS)

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _line_of(delivery: Delivery) -> Line:
    host, port = host_and_port(delivery.url) or ("", 0)
    return Line.of(host, port, tried=bool(delivery.attempts))


def after_attempt(
    delivery: Delivery, attempt: DeliveryAttempt, answer: Answer, now: datetime, jitter: float
) -> tuple[Delivery, float]:
    """The delivery with this attempt noted, and in how many seconds the next is due. `jitter` is 0 to 1."""
    attempts = (*delivery.attempts, attempt)
    state: Literal["pending", "delivered", "failed", "disabled"] = "pending"
    delay_seconds = webhooks.retry_delay_seconds(len(attempts), jitter)
    if answer.status_code is not None and 200 <= answer.status_code < 300:
        state = "delivered"
    elif answer.status_code == GONE:
        state = "disabled"
    elif delay_seconds is None:
        state = "failed"
    pause_seconds = max(delay_seconds or 0.0, answer.retry_after_seconds)
    due = now + timedelta(seconds=pause_seconds) if state == "pending" else None
    return delivery.model_copy(update={"state": state, "attempts": attempts, "next_attempt_at": due}), pause_seconds
