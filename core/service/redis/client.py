"""Connections to Redis: timeouts, retries, failover and the circuit breaker.

Values are text (decode_responses). URLs are in urls.py, TLS in tls.py, key names in keys.py, errors in errors.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, MaxConnectionsError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool, SentinelManagedConnection

from core.service.net.circuit_breaker import CircuitBreaker
from core.service.net.resolver import check_name
from core.service.redis.errors import FAILED_OVER, error_prefix, raises_store_errors, store_error, store_errors
from core.service.redis.tls import Server, TlsRefused
from core.service.redis.urls import RECORDS, SENTINEL, SentinelUrl, read_url

__all__ = ["connect", "raises_store_errors", "store_error", "store_errors"]

HEALTH_CHECK_SECONDS = 15
"""A connection idle this long is pinged before use, so that no command is lost to a restarted Redis."""


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


def connect(
    redis_url: str, timeouts: Timeouts = WORKER, breaker: CircuitBreaker | None = None, *, setting: str = RECORDS
) -> redis.Redis:
    """A client (a pool of connections, safe to share between threads). Does not connect yet.

    `redis_url` is redis://, rediss:// or unix:// as redis-py reads them, or
    `sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...]/[DATABASE]?master=NAME[&ssl=true][&sentinel_password=...]`.
    TLS verifies certificate and host name unless the URL says otherwise (tls.py has its options). With a `breaker`,
    calls fail at once for a moment after the server did not answer. `setting` is the variable that has the URL, for
    messages. Raises StoreMisconfigured.
    """
    options = {**_options(timeouts), "setting": setting}
    if redis_url.startswith(SENTINEL):
        return redis.Redis.from_pool(_sentinel_pool(SentinelUrl.read(redis_url, setting), options, breaker))
    of_url = read_url(redis_url, setting)
    connection_class = _CONNECTIONS[cast("type", of_url.pop("connection_class", Connection))]
    if connection_class is _UnixConnection:
        del options["socket_keepalive"], options["setting"]
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
        "retry": _Retry(backoff, timeouts.retries, supported_errors=retried),
        "max_connections": timeouts.max_connections,
    }


class _Retry(Retry):
    """Does not repeat what waiting does not mend."""

    def call_with_retry(self, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False) -> Any:
        return super().call_with_retry(do, fail, is_retryable or _may_pass, with_failure_count)


def _may_pass(error: Exception) -> bool:
    return not isinstance(error, TlsRefused)


class _DetectsFailover(Connection):
    """A connection that notices when its server has lost the role of master, and says what is wrong with TLS."""

    failed_over = False
    tls: Mapping[str, Any] | None = None

    def __init__(self, *args: Any, setting: str, **kwargs: Any) -> None:
        """`setting` is the variable that has the URL."""
        self._setting = setting
        super().__init__(*args, **kwargs)

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().connect_check_health(*args, **kwargs)
        except (RedisConnectionError, RedisTimeoutError, InvalidResponse) as error:
            server = Server(self.host, self.port, self._setting, self._connect_seconds, self.tls)
            refused = server.refusal(error)
            if refused is None:
                raise
            raise refused from error

    def _connect(self) -> Any:
        check_name(self.host, self.port, self._connect_seconds)
        return super()._connect()

    @property
    def _connect_seconds(self) -> float:
        return self.socket_connect_timeout or WORKER.connect_seconds

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().read_response(*args, **kwargs)
        except RedisError as error:
            if error_prefix(error) in FAILED_OVER:
                self.failed_over = True
            raise


class _TcpConnection(_DetectsFailover):
    pass


class TlsConnection(_DetectsFailover, SSLConnection):
    """Verifies as the URL says. The handshake has the time limit of connecting, not that of an answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tls = {name: value for name, value in kwargs.items() if name.startswith("ssl_")}

    def _wrap_socket_with_ssl(self, sock: Any) -> Any:
        sock.settimeout(self._connect_seconds)
        secure = super()._wrap_socket_with_ssl(sock)
        secure.settimeout(self.socket_timeout)
        return secure


class _UnixConnection(UnixDomainSocketConnection):
    failed_over = False


class _SentinelConnection(_DetectsFailover, SentinelManagedConnection):
    pass


class TlsSentinelConnection(TlsConnection, SentinelManagedConnection):
    """To the master that Sentinels name."""


_CONNECTIONS: dict[type, type] = {
    Connection: _TcpConnection,
    SSLConnection: TlsConnection,
    UnixDomainSocketConnection: _UnixConnection,
}


class _Pool(ConnectionPool):
    """A pool that drops its connections once their server refuses writes, so that the next call reaches the new master
    behind the same address; and that asks the circuit breaker before each use."""

    def __init__(self, breaker: CircuitBreaker | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.breaker = breaker
        self.refused: TlsRefused | None = None
        """Why the newest connection was not made, if it is a fault of TLS."""

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        if self.breaker is not None and not self.breaker.allows_call():
            raise self.refused or RedisConnectionError("it did not answer a moment ago")
        try:
            connection = super().get_connection(*args, **kwargs)
            self.refused = None
            return connection
        except MaxConnectionsError:
            raise
        except (RedisError, OSError) as error:
            self.refused = error if isinstance(error, TlsRefused) else None
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


class _Sentinels(Sentinel):
    """Sentinels that are asked with our connections, and say so if TLS keeps all of them from being asked."""

    def __init__(self, url: SentinelUrl, connect_to: Callable[[str, int], redis.Redis]) -> None:
        super().__init__([])
        self.sentinels = [connect_to(host, port) for host, port in url.hosts]

    def discover_master(self, service_name: str) -> Any:
        try:
            return super().discover_master(service_name)
        except MasterNotFoundError:
            refused = [cast("_Pool", sentinel.connection_pool).refused for sentinel in self.sentinels]
            if refused[0] is not None and all(refused):
                raise refused[0] from None
            raise


def _sentinel_pool(url: SentinelUrl, options: dict[str, Any], breaker: CircuitBreaker | None) -> _SentinelPool:
    tls = dict(url.tls or {})
    of_sentinels = {
        **{name: options[name] for name in ("socket_timeout", "socket_connect_timeout", "socket_keepalive", "setting")},
        "retry": _Retry(NoBackoff(), 0),  # the next Sentinel is asked instead
        "decode_responses": True,
        "password": url.sentinel_password,
        "connection_class": _TcpConnection if url.tls is None else TlsConnection,
        **tls,
    }
    return _SentinelPool(
        breaker,
        service_name=url.master,
        sentinel_manager=_Sentinels(url, lambda host, port: _client_of(host, port, of_sentinels)),
        connection_class=_SentinelConnection if url.tls is None else TlsSentinelConnection,
        **options,
        **tls,
        **{"username": url.username, "password": url.password, "db": url.database},
    )


def _client_of(host: str, port: int, options: Mapping[str, Any]) -> redis.Redis:
    return redis.Redis.from_pool(_Pool(host=host, port=port, **options))
