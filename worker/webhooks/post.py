"""One try of one webhook: the name looked up, its addresses checked, the signed POST sent, the answer's head read.

The status line and headers are the receipt: what follows them is not read. Whatever a receiver does ends as an Answer
within webhook_timeout_seconds. Knows no outbox and no other delivery.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpcore

from core.service.domain import webhooks
from core.service.domain.errors import NameServiceUnavailable, SetupError, WebhookUrlRefused
from core.service.domain.ports import Delivery
from core.service.net.address_guard import WEBHOOK, allowed_addresses, host_and_port
from core.service.net.checked_connection import HTTP_ERRORS, CheckedBackend, ReadLimit, TooManyBytes, close, request
from core.service.net.resolver import BoundedResolver, LookupsBusy
from core.service.settings import Settings

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 * 1024
"""Of an answer, from the first byte to the end of its headers, interim answers (1xx) included."""
ROOM_SECONDS = 0.3
"""For a name's look-up to begin: else other deliveries go first."""
LONGEST_RETRY_AFTER_SECONDS = 24 * 3600.0
USER_AGENT = "Longtake-Webhooks/1"

LookUp = Callable[[str], Awaitable[Sequence[str]]]
"""URL -> the addresses that it may be sent to. Raises WebhookUrlRefused or NameServiceUnavailable."""
EnterAddresses = Callable[[Sequence[str]], AbstractContextManager[None]]
"""Takes a share of these addresses while the block runs; may raise to give up before anything is sent."""


@dataclass(frozen=True)
class Answer:
    """What came of one try. `status_code` is None where no answer came, `error` then says why."""

    status_code: int | None = None
    error: str | None = None
    retry_after_seconds: float = 0.0


def look_up_with(resolver: BoundedResolver, settings: Settings) -> LookUp:
    """Looks names up anew for every try, and checks what they lead to now."""

    async def look_up(url: str) -> Sequence[str]:
        place = host_and_port(url)
        try:
            addresses = () if place is None else await resolver.ask(*place, room_seconds=ROOM_SECONDS)
        except (OSError, UnicodeError):
            addresses = ()
        return allowed_addresses(url, WEBHOOK, settings, lambda _host, _port: addresses)

    return look_up


class Poster:
    """Makes tries."""

    def __init__(self, settings: Settings, look_up: LookUp, tls: ssl.SSLContext) -> None:
        self._settings = settings
        self._look_up = look_up
        self._tls = tls

    async def post(self, delivery: Delivery, now: datetime, enter: EnterAddresses) -> Answer:
        """Raises LookupsBusy, and what `enter` raises: then nothing was tried. Of all else an Answer tells."""
        seconds = self._settings.webhook_timeout_seconds
        async with AsyncExitStack() as after_the_answer:
            try:
                async with asyncio.timeout(seconds):
                    addresses = await self._look_up(delivery.url)
                    after_the_answer.enter_context(enter(addresses))
                    return await self._exchange(delivery, addresses, now, after_the_answer)
            except TimeoutError:
                return Answer(error=f"no answer within {seconds:g} s")
            except LookupsBusy:
                raise
            except (WebhookUrlRefused, NameServiceUnavailable) as error:
                return Answer(error=error.message)
            except SetupError as error:
                logger.error("webhooks cannot be signed: %s", error.message)
                return Answer(error="the service has no usable signing secret")
            except HTTP_ERRORS as error:
                # The text may hold addresses, or what a server that is no receiver has said.
                logger.info("webhook %s: %r", delivery.id, error)
                return Answer(error=_words(error))

    async def _exchange(
        self, delivery: Delivery, addresses: Sequence[str], now: datetime, after_the_answer: AsyncExitStack
    ) -> Answer:
        # httpcore reads no environment: a proxy named there would be told addresses that only we may see.
        backend = CheckedBackend(addresses, ReadLimit(MAX_HEAD_BYTES))
        pool = httpcore.AsyncConnectionPool(ssl_context=self._tls, network_backend=backend)
        after_the_answer.push_async_callback(close, pool)
        headers = {"content-type": "application/json", "user-agent": USER_AGENT, **self._signed(delivery, now)}
        seconds = self._settings.webhook_timeout_seconds
        sent = request("POST", delivery.url, headers, delivery.body.encode(), seconds)
        response = await pool.handle_async_request(sent)
        retry_after = next((value for name, value in response.headers if name.lower() == b"retry-after"), None)
        return Answer(response.status, None, retry_after_seconds(retry_after, now))

    def _signed(self, delivery: Delivery, now: datetime) -> dict[str, str]:
        secret = self._settings.webhook_secret
        if secret is None:
            raise SetupError("LONGTAKE_WEBHOOK_SECRET is not set", field="webhook_secret")
        return webhooks.headers(secret.get_secret_value(), delivery.id, int(now.timestamp()), delivery.body)


def _words(error: Exception) -> str:
    """What happened, and the class by which it can be looked up."""
    kinds: dict[type[Exception], str] = {
        TooManyBytes: f"its answer has no end within {MAX_HEAD_BYTES} bytes",
        httpcore.ConnectError: "no connection",
        httpcore.ConnectTimeout: "no connection",
        httpcore.ProtocolError: "its answer is not HTTP/1.1",
    }
    told = next((words for kind, words in kinds.items() if isinstance(error, kind)), "the connection broke")
    return f"{told} ({type(error).__name__})"


def retry_after_seconds(header: bytes | str | None, now: datetime) -> float:
    """What a Retry-After header asks for: seconds or an HTTP date (RFC 9110, 10.2.3); 0 for none and for nonsense."""
    text = header.decode("latin-1").strip() if isinstance(header, bytes) else (header or "").strip()
    is_number = text.isascii() and text.isdigit()
    seconds = float(text[:20]) if is_number else _seconds_until(text, now)
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _seconds_until(date: str, now: datetime) -> float:
    """0 for what is no date."""
    try:
        at = parsedate_to_datetime(date)
        return (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    except (ValueError, TypeError, ArithmeticError, LookupError):  # the parser lets all of these out
        return 0.0
