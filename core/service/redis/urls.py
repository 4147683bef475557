"""Redis' URLs: redis://, rediss:// and unix:// as redis-py reads them, and sentinel://, with the same TLS options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from redis.connection import SSLConnection, parse_url

from core.service.domain.errors import StoreMisconfigured
from core.service.redis.tls import TLS_VERSIONS, tls_options

RECORDS, BROKER = "LONGTAKE_REDIS_URL", "LONGTAKE_BROKER_URL"
"""The settings with a URL of Redis, for messages."""
SENTINEL = "sentinel://"
SENTINEL_PORT = 26379
_NEEDS_ESCAPES = "a password's characters / ? # @ : % are written as %2F %3F %23 %40 %3A %25"
_INVALID_OPTION = re.compile(r"Invalid value for '(\w+)' in connection URL")
_VALUES = {"ssl_min_version": TLS_VERSIONS}
"""What an option with a value that redis-py cannot read may be; the others are numbers."""
_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")


@dataclass(frozen=True)
class SentinelUrl:
    """A parsed sentinel:// URL. User and password are those of the master; `tls` (redis-py's arguments; None: without)
    is that of the master and of the Sentinels."""

    master: str
    hosts: tuple[tuple[str, int], ...]
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)
    tls: Mapping[str, Any] | None = field(default=None, repr=False)

    @staticmethod
    def read(url: str, setting: str = RECORDS) -> SentinelUrl:
        """Parse a URL. Raises StoreMisconfigured."""
        try:
            parts = urlsplit(url)
            query = parse_qs(parts.query)
            login, _, places = parts.netloc.rpartition("@")
            user, _, password = login.partition(":")
            return SentinelUrl(
                master=query["master"][0],
                hosts=tuple(_host_and_port(place) for place in places.split(",")),
                database=int(parts.path.strip("/") or 0),
                username=unquote(user) or None,
                password=unquote(password) or None,
                sentinel_password=query.get("sentinel_password", [None])[0],
                tls=_tls_of_sentinel(parts.query, query.get("ssl", ["false"])[0].lower(), setting),
            )
        except (KeyError, ValueError) as error:
            _check_option(error, setting)
            raise StoreMisconfigured(
                f"the sentinel:// URL in {setting} cannot be read",
                fix=f"use sentinel://HOST:PORT,HOST:PORT/DATABASE?master=NAME, with TLS &ssl=true; {_NEEDS_ESCAPES}",
            ) from None

    @property
    def sentinel_options(self) -> dict[str, Any]:
        """Arguments of redis.Redis for the Sentinels themselves, beyond timeouts."""
        login = {"password": self.sentinel_password} if self.sentinel_password else {}
        return login if self.tls is None else {**login, "ssl": True, **self.tls}


def read_url(url: str, setting: str = RECORDS) -> dict[str, Any]:
    """redis-py's arguments for a redis://, rediss:// or unix:// URL, as its `parse_url` returns them, with all TLS
    options. Raises StoreMisconfigured; its text holds no part of the URL that could be a password."""
    if not url.strip():
        raise StoreMisconfigured(
            f"{setting} is empty", fix="give a URL such as redis://HOST:6379/0, or unset it for a Redis on this machine"
        )
    try:
        options = cast("dict[str, Any]", parse_url(url))
    except ValueError as error:
        _check_option(error, setting)
        # Others, from urllib, quote what they take for a port: it may be the end of a password.
        said = f": {error}" if str(error).startswith("Redis URL must") else ""
        raise StoreMisconfigured(
            f"the URL in {setting} cannot be read{said}", fix=f"use redis://HOST:PORT/DATABASE; {_NEEDS_ESCAPES}"
        ) from None
    given = _ssl_options(options)
    if options.get("connection_class") is SSLConnection:
        return {**options, **tls_options(given, setting)}
    if given:
        raise StoreMisconfigured(f"{setting} has {min(given)} and no TLS", fix="write rediss:// instead of redis://")
    return options


def same_database(records: str, broker: str) -> bool:
    """Whether both URLs name one database of one Redis, as far as their texts say. Raises StoreMisconfigured."""
    return _database_of(records, RECORDS) == _database_of(broker, BROKER)


def _database_of(url: str, setting: str) -> tuple[object, ...]:
    if url.startswith(SENTINEL):
        sentinel = SentinelUrl.read(url, setting)
        return sentinel.master, frozenset(sentinel.hosts), sentinel.database
    options = read_url(url, setting)
    host = options.get("host", "localhost")
    where = options.get("path") or ("127.0.0.1" if host == "localhost" else host, options.get("port", 6379))
    return where, options.get("db", 0)


def _check_option(error: Exception, setting: str) -> None:
    """Raises StoreMisconfigured if redis-py says that it cannot read the value of an option, which it names."""
    found = _INVALID_OPTION.match(str(error))
    if found is not None:
        raise StoreMisconfigured(
            f"{found[1]} in the URL of {setting} has a value that cannot be read",
            fix=f"give {_VALUES.get(found[1], 'a number')}",
        ) from None


def broker_tls(url: str) -> dict[str, Any] | None:
    """The TLS arguments of a broker's URL of any form; None without TLS. Raises StoreMisconfigured."""
    if url.startswith(SENTINEL):
        tls = SentinelUrl.read(url, BROKER).tls
        return None if tls is None else dict(tls)
    return _ssl_options(read_url(url, BROKER)) or None


def without_tls_options(url: str) -> str:
    """`url` without its `ssl_` options."""
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if not name.startswith("ssl_")]
    return urlunsplit(parts._replace(query=urlencode(kept)))


def _ssl_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name.startswith("ssl_")}


def _tls_of_sentinel(query: str, ssl: str, setting: str) -> dict[str, Any] | None:
    """Raises ValueError for values that cannot be read, StoreMisconfigured for what is wrong with those that can."""
    given = _ssl_options(cast("dict[str, Any]", parse_url(f"rediss://?{query}")))
    if ssl in _TRUE:
        return tls_options(given, setting)
    if ssl not in _FALSE:
        raise ValueError("ssl is true or false")
    if given:
        raise StoreMisconfigured(f"{setting} has {min(given)} and no TLS", fix="add &ssl=true to the sentinel:// URL")
    return None


def _host_and_port(place: str) -> tuple[str, int]:
    parts = urlsplit(f"//{place}")
    if not parts.hostname:
        raise ValueError("no host")
    return parts.hostname, parts.port or SENTINEL_PORT
