"""Sends webhooks from the outbox: signed, to a checked and pinned address, with retries. Runs on CPU workers only.

Knows the outbox by its port. A batch is sent side by side, each within webhook_timeout_seconds from the first look-up
to the last byte, and one that failed waits in the outbox for its next try: a dead receiver holds nobody up for long.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import takewhile
from typing import Literal

import httpx

from core.service import webhooks
from core.service.address_guard import check_url
from core.service.errors import JobNotFound, SetupError, WebhookUrlRefused
from core.service.pinned_url import pin
from core.service.ports import Clock, Delivery, DeliveryAttempt, JobStore, Outbox
from core.service.settings import Settings

logger = logging.getLogger(__name__)

BATCH_SIZE = 64
MAX_ANSWER_BYTES = 4096
"""An answer is read only as far as this (its text is used for nothing)."""
HOLD_MARGIN_SECONDS = 15.0
LONGEST_RETRY_AFTER_SECONDS = 24 * 3600.0
GONE = 410
USER_AGENT = "Longtake-Webhooks/1"

CheckUrl = Callable[[str, bool], Sequence[str]]
"""address_guard.check_url: (url, allow_private) -> addresses, or WebhookUrlRefused."""


@dataclass(frozen=True)
class Answer:
    """What came of one try. `status_code` is None where no answer came, `error` then says why."""

    status_code: int | None = None
    error: str | None = None
    retry_after_seconds: float = 0.0


class WebhookSender:
    """Delivers what is due."""

    def __init__(
        self,
        outbox: Outbox,
        store: JobStore,
        clock: Clock,
        settings: Settings,
        *,
        check: CheckUrl = check_url,
        tls: ssl.SSLContext | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._store = store
        self._clock = clock
        self._settings = settings
        self._check = check
        self._tls = tls or httpx.create_ssl_context(trust_env=False)
        self._jitter = jitter

    def deliver_due(self) -> int:
        """Try each due delivery once, side by side; returns how many were due. Call again until 0."""
        hold_seconds = self._settings.webhook_timeout_seconds + HOLD_MARGIN_SECONDS
        due = self._outbox.take_due(self._clock.now(), BATCH_SIZE, hold_seconds)
        wanted = [delivery for delivery in due if not self._dropped(delivery)]
        for delivery, attempt, answer in asyncio.run(self._try_all(wanted)) if wanted else ():
            after = after_attempt(delivery, attempt, answer, self._clock.now(), self._jitter())
            logger.info("webhook %s: %s (%s)", delivery.id, after.state, answer.error or answer.status_code)
            self._outbox.record(after)
        for job_id in {delivery.job_id for delivery in due}:
            self._note_ended(job_id)
        return len(due)

    def _note_ended(self, job_id: str) -> None:
        """In the job's record, so that a lost Redis does not send again what has arrived."""
        ended = takewhile(lambda row: row.state != "pending", self._outbox.of_job(job_id))
        try:
            self._store.end_webhooks(job_id, sum(1 for _ in ended))
        except JobNotFound:
            return

    def _dropped(self, delivery: Delivery) -> bool:
        """The receiver has answered 410 to another event of this job: it wants no more of them."""
        disabled = any(other.state == "disabled" for other in self._outbox.of_job(delivery.job_id))
        if disabled:
            self._outbox.record(delivery.model_copy(update={"state": "disabled", "next_attempt_at": None}))
        return disabled

    async def _try_all(self, deliveries: Sequence[Delivery]) -> list[tuple[Delivery, DeliveryAttempt, Answer]]:
        return await asyncio.gather(*(self._timed_try(delivery) for delivery in deliveries))

    async def _timed_try(self, delivery: Delivery) -> tuple[Delivery, DeliveryAttempt, Answer]:
        at, started = self._clock.now(), time.perf_counter()
        answer = await self._try(delivery, at)
        seconds = time.perf_counter() - started
        attempt = DeliveryAttempt(
            at=at, status_code=answer.status_code, error=answer.error, duration_seconds=round(seconds, 3)
        )
        return delivery, attempt, answer

    async def _try(self, delivery: Delivery, now: datetime) -> Answer:
        timeout_seconds = self._settings.webhook_timeout_seconds
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._post(delivery, now)
        except TimeoutError:
            return Answer(error=f"no answer within {timeout_seconds:g} s")
        except WebhookUrlRefused as error:
            return Answer(error=error.message)
        except SetupError as error:
            logger.error("webhooks cannot be signed: %s", error.message)
            return Answer(error="the service has no usable signing secret")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return Answer(error=f"{type(error).__name__}: {error}"[:200])

    async def _post(self, delivery: Delivery, now: datetime) -> Answer:
        allow_private = self._settings.webhook_allow_private_addresses
        addresses = await asyncio.to_thread(self._check, delivery.url, allow_private)
        pinned = pin(delivery.url, addresses[0])
        async with (
            # No environment: a proxy named there would be told addresses that only we may see. The timeout is that of
            # one wait; _try limits the whole.
            httpx.AsyncClient(
                verify=self._tls,
                trust_env=False,
                follow_redirects=False,
                timeout=self._settings.webhook_timeout_seconds,
            ) as client,
            client.stream(
                "POST",
                pinned.url,
                content=delivery.body,
                headers={**self._signed(delivery, now), **pinned.headers},
                extensions=dict(pinned.extensions),
            ) as response,
        ):
            await _read_some(response)
            return Answer(response.status_code, None, retry_after_seconds(response.headers.get("retry-after"), now))

    def _signed(self, delivery: Delivery, now: datetime) -> dict[str, str]:
        secret = self._settings.webhook_secret
        if secret is None:
            raise SetupError("LONGTAKE_WEBHOOK_SECRET is not set", field="webhook_secret")
        signed = webhooks.headers(secret.get_secret_value(), delivery.id, int(now.timestamp()), delivery.body)
        return {"content-type": "application/json", "user-agent": USER_AGENT, **signed}


async def _read_some(response: httpx.Response) -> None:
    """Take the answer off the wire, up to MAX_ANSWER_BYTES."""
    read_bytes = 0
    async for piece in response.aiter_raw():
        read_bytes += len(piece)
        if read_bytes >= MAX_ANSWER_BYTES:
            return


def retry_after_seconds(header: str | None, now: datetime) -> float:
    """What a Retry-After header asks for: seconds or an HTTP date (RFC 9110, 10.2.3); 0 for none and for nonsense."""
    if header is None:
        return 0.0
    if header.strip().isascii() and header.strip().isdigit():
        seconds = float(header)
    else:
        try:
            at = parsedate_to_datetime(header)
        except ValueError:
            return 0.0
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def after_attempt(
    delivery: Delivery, attempt: DeliveryAttempt, answer: Answer, now: datetime, jitter: float
) -> Delivery:
    """The delivery with this attempt noted and what is to happen next. `jitter` is 0 to 1."""
    attempts = (*delivery.attempts, attempt)
    state: Literal["pending", "delivered", "failed", "disabled"] = "pending"
    delay_seconds = webhooks.retry_delay_seconds(len(attempts), jitter)
    if answer.status_code is not None and 200 <= answer.status_code < 300:
        state = "delivered"
    elif answer.status_code == GONE:
        state = "disabled"
    elif delay_seconds is None:
        state = "failed"
    due = None
    if state == "pending" and delay_seconds is not None:
        due = now + timedelta(seconds=max(delay_seconds, answer.retry_after_seconds))
    return delivery.model_copy(update={"state": state, "attempts": attempts, "next_attempt_at": due})
