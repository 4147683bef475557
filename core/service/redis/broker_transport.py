"""kombu's Redis transport with two faults fixed, and its options from our settings.

Messages only wake workers; the job's record is the source of truth. So a message may be lost or delivered twice, but no
message may make a worker exit or stop consuming.
"""

from __future__ import annotations

import logging
from queue import Empty
from typing import Any, cast
from urllib.parse import quote

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from kombu.transport.virtual import QoS as VirtualQoS

from core.service.redis.client import HEALTH_CHECK_SECONDS, Timeouts, TlsConnection, TlsSentinelConnection
from core.service.redis.urls import BROKER, SENTINEL, SentinelUrl, broker_tls, without_tls_options

log = logging.getLogger(__name__)

LONGEST_READ_SECONDS = 5.0
"""kombu polls for messages without blocking, so only other reads delay the shutdown of a worker."""
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError)
"""Raised by kombu for a message that is not JSON or not in its format."""


class _QoS(kombu_redis.QoS):
    """kombu counts a message as unacknowledged until the ack has reached Redis. If Redis is down then, it counts it
    forever, and with a prefetch of 1 the worker never consumes again."""

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)
        except BaseException:
            VirtualQoS.ack(self, delivery_tag)  # forgotten here; Redis redelivers it, which is harmless
            raise


class _DropsUnreadable:
    """A channel that logs and drops an unreadable message, which would otherwise make the worker exit."""

    def _brpop_read(self, **options: Any) -> Any:
        qos = cast(Any, self).qos
        before = set(qos._delivered)
        try:
            return super()._brpop_read(**options)  # pyright: ignore[reportAttributeAccessIssue]
        except _UNREADABLE as error:
            log.error("a broker message that cannot be read was dropped: %s: %s", type(error).__name__, error)
            for tag in set(qos._delivered) - before:
                qos.ack(tag)
            raise Empty from error


class _Channel(_DropsUnreadable, kombu_redis.Channel):
    QoS = _QoS
    connection_class_ssl = TlsConnection


class _SentinelChannel(_DropsUnreadable, kombu_redis.SentinelChannel):
    QoS = _QoS
    connection_class_ssl = TlsSentinelConnection


class Transport(kombu_redis.Transport):
    Channel = _Channel


class SentinelTransport(kombu_redis.SentinelTransport):
    Channel = _SentinelChannel


# By scheme rather than `broker_transport`, which kombu ignores when it fails over to another address.
TRANSPORT_ALIASES.update(
    redis=f"{__name__}:Transport", rediss=f"{__name__}:Transport", sentinel=f"{__name__}:SentinelTransport"
)


def kombu_url(broker_url: str) -> str:
    """Our broker URL in kombu's form, which has one URL per Sentinel. TLS options are those of `use_ssl`."""
    if not broker_url.startswith(SENTINEL):
        return without_tls_options(broker_url)
    url = SentinelUrl.read(broker_url, BROKER)
    login = f"{quote(url.username or '', safe='')}:{quote(url.password, safe='')}@" if url.password else ""
    return ";".join(f"sentinel://{login}{host}:{port}/{url.database}" for host, port in url.hosts)


def use_ssl(broker_url: str) -> dict[str, Any] | None:
    """Celery's `broker_use_ssl`: arguments of our connections. None without TLS.

    Never left to kombu: of a plain rediss:// URL it verifies no certificate."""
    tls = broker_tls(broker_url)
    return None if tls is None else {**tls, "setting": BROKER}


def transport_options(broker_url: str, timeouts: Timeouts) -> dict[str, Any]:
    """kombu's `broker_transport_options`: timeouts and, with Sentinels, the master name and their password."""
    read_seconds = min(timeouts.read_seconds, LONGEST_READ_SECONDS)
    socket_timeouts = {"socket_timeout": read_seconds, "socket_connect_timeout": timeouts.connect_seconds}
    options = {
        **socket_timeouts,
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK_SECONDS,
        "retry_on_timeout": timeouts.retry_timeouts,
    }
    if broker_url.startswith(SENTINEL):
        url = SentinelUrl.read(broker_url, BROKER)
        options |= {"master_name": url.master, "sentinel_kwargs": {**socket_timeouts, **url.sentinel_options}}
    return options
