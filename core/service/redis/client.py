"""Connections to Redis: URLs (also Sentinel), timeouts, retries, failover and the circuit breaker.

Values are text (decode_responses). Key names are in keys.py, errors in errors.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection

from core.service.domain.errors import StoreMisconfigured
from core.service.net.circuit_breaker import CircuitBreaker
from core.service.net.resolver import check_name
from core.service.redis.errors import FAILED_OVER, error_prefix, raises_store_errors, store_error, store_errors

__all__ = ["connect", "raises_store_errors", "store_error", "store_errors"]

HEALTH_CHECK_SECONDS = 15
"""A connection idle this long is pinged before use, so that no command is lost to a restarted Redis."""
SENTINEL_PORT = 26379


@dataclass(frozen=True)
class Timeouts:
    """Limits of one call. `read_seconds` is the socket timeout; blocking reads must ask for less."""

    connect_seconds: float
    read_seconds: float
    retries: int
    retry_timeouts: bool = True
    max_connections: int = 100


WORKER = Timeouts(connect_seconds=5.0, read_seconds=15.0, retries=6)
"""Retries for about three seconds: long enough for a restart of Redis."""
REQUEST = Timeouts(connect_seconds=0.5, read_seconds=1.0, retries=1, retry_timeouts=False, max_connections=200)
"""For HTTP requests: answers or fails within two seconds. The retry is for connections lost while idle."""
STREAM = Timeouts(connect_seconds=0.5, read_seconds=3.0, retries=0, max_connections=16)
"""For event streams: one connection blocks up to a second for all streams of a process, others read logs. A pool of its
own, so that requests always find a connection."""


def connect(redis_url: str, timeouts: Timeouts = WORKER, breaker: CircuitBreaker | None = None) -> redis.Redis:
    """A client (a pool of connections, safe to share between threads). Does not connect yet.

    `redis_url` is redis://, rediss:// or unix:// as redis-py reads them, or
    `sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...]/[DATABASE]?master=NAME[&sentinel_password=...]`.
    With a `breaker`, calls fail at once for a moment after the server did not answer. Raises StoreMisconfigured.
    """
    options = _options(timeouts)
    if redis_url.startswith("sentinel://"):
        return redis.Redis.from_pool(_sentinel_pool(SentinelUrl.read(redis_url), options, breaker))
    try:
        of_url = cast("dict[str, Any]", parse_url(redis_url))
    except ValueError as error:
        raise StoreMisconfigured(f"Redis' URL cannot be read: {error}", fix="use redis://HOST:PORT/DATABASE") from error
    connection_class = _CONNECTIONS[cast("type", of_url.pop("connection_class", Connection))]
    if connection_class is _UnixConnection:
        del options["socket_keepalive"]
    return redis.Redis.from_pool(_Pool(breaker, connection_class=connection_class, **{**options, **of_url}))


def _options(timeouts: Timeouts) -> dict[str, Any]:
    retried = (RedisConnectionError, RedisTimeoutError) if timeouts.retry_timeouts else (RedisConnectionError,)
    backoff = ExponentialWithJitterBackoff(base=0.1, cap=1.0)
    return {
        "decode_responses": True,
        "socket_timeout": timeouts.read_seconds,
        "socket_connect_timeout": timeouts.connect_seconds,
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK_SECONDS,
        "retry": Retry(backoff, timeouts.retries, supported_errors=retried),
        "max_connections": timeouts.max_connections,
    }


@dataclass(frozen=True)
class SentinelUrl:
    """A parsed sentinel:// URL. User and password are those of the master."""

    master: str
    hosts: tuple[tuple[str, int], ...]
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)

    @staticmethod
    def read(url: str) -> SentinelUrl:
        """Parse a URL. Raises StoreMisconfigured."""
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        login, _, places = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        try:
            return SentinelUrl(
                master=query["master"][0],
                hosts=tuple(_host_and_port(place) for place in places.split(",")),
                database=int(parts.path.strip("/") or 0),
                username=unquote(user) or None,
                password=unquote(password) or None,
                sentinel_password=query.get("sentinel_password", [None])[0],
            )
        except (KeyError, ValueError) as error:
            raise StoreMisconfigured(
                "the sentinel URL cannot be read", fix="use sentinel://HOST:PORT,HOST:PORT/DATABASE?master=NAME"
            ) from error

    @property
    def sentinel_options(self) -> dict[str, Any]:
        """Connection options of the Sentinels themselves, beyond timeouts."""
        return {"password": self.sentinel_password} if self.sentinel_password else {}


def _host_and_port(place: str) -> tuple[str, int]:
    parts = urlsplit(f"//{place}")
    if not parts.hostname:
        raise ValueError("no host")
    return parts.hostname, parts.port or SENTINEL_PORT


class _DetectsFailover(Connection):
    """A connection that notices when its server has lost the role of master."""

    failed_over = False

    def _connect(self) -> Any:
        check_name(self.host, self.port, self.socket_connect_timeout or WORKER.connect_seconds)
        return super()._connect()

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().read_response(*args, **kwargs)
        except RedisError as error:
            if error_prefix(error) in FAILED_OVER:
                self.failed_over = True
            raise


class _TcpConnection(_DetectsFailover):
    pass


class _TlsConnection(_DetectsFailover, SSLConnection):
    pass


class _UnixConnection(UnixDomainSocketConnection):
    failed_over = False


class _SentinelConnection(_DetectsFailover, SentinelManagedConnection):
    pass


_CONNECTIONS: dict[type, type] = {
    Connection: _TcpConnection,
    SSLConnection: _TlsConnection,
    UnixDomainSocketConnection: _UnixConnection,
}


class _Pool(ConnectionPool):
    """A pool that drops its connections once their server refuses writes, so that the next call reaches the new master
    behind the same address; and that asks the circuit breaker before each use."""

    def __init__(self, breaker: CircuitBreaker | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.breaker = breaker

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        if self.breaker is not None and not self.breaker.allows_call():
            raise RedisConnectionError("it did not answer a moment ago")
        try:
            return super().get_connection(*args, **kwargs)
        except MaxConnectionsError:
            raise
        except (RedisError, OSError):
            if self.breaker is not None:
                self.breaker.record_failure()
            raise

    def release(self, connection: Any) -> None:
        answered, failed_over = connection.is_connected, connection.failed_over
        if failed_over:
            connection.failed_over = False
            connection.disconnect()
        super().release(connection)
        if failed_over:
            self.disconnect(inuse_connections=False)
        if self.breaker is not None:
            (self.breaker.record_success if answered or failed_over else self.breaker.record_failure)()


class _SentinelPool(_Pool, SentinelConnectionPool):
    pass


def _sentinel_pool(url: SentinelUrl, options: dict[str, Any], breaker: CircuitBreaker | None) -> _SentinelPool:
    of_sentinels = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout", "socket_keepalive")}
    of_sentinels["retry"] = Retry(NoBackoff(), 0)  # the next Sentinel is asked instead
    sentinels = Sentinel(list(url.hosts), sentinel_kwargs={**of_sentinels, **url.sentinel_options})
    login = {"username": url.username, "password": url.password, "db": url.database}
    return _SentinelPool(
        breaker,
        service_name=url.master,
        sentinel_manager=sentinels,
        connection_class=_SentinelConnection,
        **options,
        **login,
    )
