"""One attempt of one webhook: look the host up, check its addresses, send the signed POST, read the response's head.

The status line and headers are the result; the body is not read. Whatever a receiver does, the attempt ends with an
Answer within webhook_timeout_seconds.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
from core.service.tracing import current_traceparent

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 * 1024
"""Limit of a response up to the end of its headers, including interim responses (1xx)."""
ROOM_SECONDS = 0.3
"""Longest wait for a look-up to begin; after it other deliveries go first."""
MAX_RETRY_AFTER_SECONDS = 24 * 3600.0
USER_AGENT = "Longtake-Webhooks/1"

LookUp = Callable[[str], Awaitable[Sequence[str]]]
"""URL -> the addresses it may be sent to. Raises WebhookUrlRefused, NameServiceUnavailable or LookupsBusy."""
HoldAddresses = Callable[[Sequence[str]], AbstractContextManager[None]]
"""Counts a running webhook for each address while the block runs. Raises AddressBusy before anything is sent."""


@dataclass(frozen=True)
class Answer:
    """The result of one attempt. Without a response `status_code` is None and `error` is the reason."""

    status_code: int | None = None
    error: str | None = None
    retry_after_seconds: float = 0.0


def look_up_with(resolver: BoundedResolver, settings: Settings) -> LookUp:
    """A look-up that resolves and checks the addresses anew for every attempt (DNS rebinding)."""

    async def look_up(url: str) -> Sequence[str]:
        target = host_and_port(url)
        try:
            addresses = () if target is None else await resolver.ask(*target, room_seconds=ROOM_SECONDS)
        except (OSError, UnicodeError):
            addresses = ()
        return allowed_addresses(url, WEBHOOK, settings, lambda _host, _port: addresses)

    return look_up


class Poster:
    """Sends webhooks."""

    def __init__(self, settings: Settings, look_up: LookUp, tls: ssl.SSLContext) -> None:
        self._settings = settings
        self._look_up = look_up
        self._tls = tls

    async def post(self, delivery: Delivery, secret: str, now: datetime, hold: HoldAddresses) -> Answer:
        """One attempt, signed with `secret` (webhooks.sign). Raises LookupsBusy and AddressBusy if nothing was sent;
        every other error is an Answer, a missing secret, too."""
        seconds = self._settings.webhook_timeout_seconds
        async with AsyncExitStack() as after_the_answer:
            try:
                async with asyncio.timeout(seconds):
                    addresses = await self._look_up(delivery.url)
                    after_the_answer.enter_context(hold(addresses))
                    headers = webhooks.headers(secret, delivery.id, int(now.timestamp()), delivery.body)
                    if trace := current_traceparent():
                        headers = {**headers, "traceparent": trace}
                    return await self._exchange(delivery, addresses, headers, now, after_the_answer)
            except TimeoutError:
                return Answer(error=f"no answer within {seconds:g} s")
            except LookupsBusy:
                raise
            except (WebhookUrlRefused, NameServiceUnavailable) as error:
                return Answer(error=error.message)
            except SetupError as error:
                logger.error("webhook %s cannot be signed: %s", delivery.id, error.message)
                return Answer(error="the service has no usable signing secret")
            except HTTP_ERRORS as error:
                # The text may contain addresses, or text of a server that is no webhook receiver.
                logger.info("webhook %s: %r", delivery.id, error)
                return Answer(error=_description(error))

    async def _exchange(
        self,
        delivery: Delivery,
        addresses: Sequence[str],
        signed: Mapping[str, str],
        now: datetime,
        after_the_answer: AsyncExitStack,
    ) -> Answer:
        # httpcore ignores proxy settings of the environment: a proxy would learn internal addresses.
        backend = CheckedBackend(addresses, ReadLimit(MAX_HEAD_BYTES))
        pool = httpcore.AsyncConnectionPool(ssl_context=self._tls, network_backend=backend)
        after_the_answer.push_async_callback(close, pool)
        headers = {"content-type": "application/json", "user-agent": USER_AGENT, **signed}
        # `post` limits the attempt as a whole. Limits of its parts must be longer, or one of them may end first on a
        # busy machine, and the attempt is described in other words.
        seconds = 2 * self._settings.webhook_timeout_seconds
        sent = request("POST", delivery.url, headers, delivery.body.encode(), seconds)
        response = await pool.handle_async_request(sent)
        retry_after = next((value for name, value in response.headers if name.lower() == b"retry-after"), None)
        return Answer(response.status, None, retry_after_seconds(retry_after, now))


def _description(error: Exception) -> str:
    """What failed, with the name of the exception's class."""
    kinds: dict[type[Exception], str] = {
        TooManyBytes: f"the response has more than {MAX_HEAD_BYTES} bytes of headers",
        httpcore.ConnectError: "no connection",
        httpcore.ProtocolError: "the response is not HTTP/1.1",
    }
    text = next((text for kind, text in kinds.items() if isinstance(error, kind)), "the connection broke")
    return f"{text} ({type(error).__name__})"


def retry_after_seconds(header: bytes | str | None, now: datetime) -> float:
    """Seconds of a Retry-After header, given as seconds or HTTP date (RFC 9110, 10.2.3); 0 if missing or invalid."""
    text = header.decode("latin-1").strip() if isinstance(header, bytes) else (header or "").strip()
    is_number = text.isascii() and text.isdigit()
    seconds = float(text[:20]) if is_number else _seconds_until(text, now)
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _seconds_until(date: str, now: datetime) -> float:
    """0 if `date` is invalid."""
    try:
        at = parsedate_to_datetime(date)
        return (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    except (ValueError, TypeError, ArithmeticError, LookupError):  # the parser raises all of these
        return 0.0
