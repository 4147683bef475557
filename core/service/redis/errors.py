"""Translates failures of Redis to StoreError classes.

The error prefix of Redis' answer ("OOM", "READONLY") decides, not redis-py's class: redis-py has classes for some
prefixes only, and in transactions and scripts the prefix is in the middle of the text.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    DataError,
    ExecAbortError,
    MasterDownError,
    MaxConnectionsError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from core.service.domain.errors import (
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreReadOnly,
    StoreUnavailable,
)
from core.service.redis.tls import TlsRefused

P = ParamSpec("P")
T = TypeVar("T")

_MEANINGS: dict[str, tuple[type[StoreError], str]] = {
    "OOM": (StoreFull, "Redis is full"),
    "MISCONF": (StoreReadOnly, "Redis cannot save and refuses writes"),
    "READONLY": (StoreReadOnly, "Redis is a replica and refuses writes"),
    "NOREPLICAS": (StoreReadOnly, "Redis has too few replicas and refuses writes"),
    "LOADING": (StoreUnavailable, "Redis is loading its data"),
    "BUSY": (StoreUnavailable, "Redis is busy with a script"),
    "MASTERDOWN": (StoreUnavailable, "Redis is a replica without its master"),
    "CLUSTERDOWN": (StoreUnavailable, "the Redis cluster is down"),
    "TRYAGAIN": (StoreUnavailable, "Redis is moving its data"),
    "WRONGTYPE": (StoreDamaged, "Redis holds a key of another type"),
    "NOAUTH": (StoreMisconfigured, "Redis asks for a password"),
    "WRONGPASS": (StoreMisconfigured, "Redis refuses the password"),
    "NOPERM": (StoreMisconfigured, "Redis refuses the user"),
    "MOVED": (StoreMisconfigured, "Redis is a cluster, which is not supported"),
    "ASK": (StoreMisconfigured, "Redis is a cluster, which is not supported"),
    "CROSSSLOT": (StoreMisconfigured, "Redis is a cluster, which is not supported"),
}
_FIXES: dict[type[StoreError], str] = {
    StoreUnavailable: "check that Redis runs and its URL",
    StoreReadOnly: "check Redis' disk, its replicas and that its URL leads to the master",
    StoreFull: "delete jobs or give Redis more memory or disk",
    StoreDamaged: "check what else writes to this Redis database",
    StoreMisconfigured: "check Redis' URL, user, password and rights",
}
_WORD = re.compile(rf"(?<![A-Z])({'|'.join(_MEANINGS)})(?![A-Z])")
_OF_CLASS: dict[type[Exception], str] = {
    BusyLoadingError: "LOADING",
    MasterDownError: "MASTERDOWN",
    NoPermissionError: "NOPERM",
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
}
"""redis-py strips the prefix of errors that it has a class for; newer versions keep it in `status_code`."""
_NO_SPACE = "No space left on device"
_OF_PIPELINE = "caused error: "
"""redis-py puts the command before this text, and a command may contain text of a client."""

FAILED_OVER = frozenset({"READONLY", "MASTERDOWN", "NOREPLICAS"})
"""Error prefixes of a server that may have lost the role of master."""


def error_prefix(error: RedisError) -> str | None:
    """The error prefix of Redis' answer; None if it has none that is known here."""
    code = getattr(error, "status_code", None) or _OF_CLASS.get(type(error))
    if code in _MEANINGS:
        return code
    found = _WORD.search(str(error).rpartition(_OF_PIPELINE)[2])
    return None if found is None else found[1]


def store_error(error: Exception) -> StoreError:
    """The StoreError for an error of redis-py. Its text is for operators: it may hold addresses and keys."""
    if isinstance(error, TlsRefused):
        return StoreMisconfigured(str(error), fix=error.fix)
    kind, summary = _meaning(error)
    return kind(f"{summary}: {error}", fix=_FIXES[kind])


def _meaning(error: Exception) -> tuple[type[StoreError], str]:
    if isinstance(error, UnicodeDecodeError):
        return StoreDamaged, "Redis holds bytes that are not text"
    if isinstance(error, ResponseError) or (isinstance(error, RedisError) and error_prefix(error) is not None):
        return _meaning_of_answer(error)
    if isinstance(error, MaxConnectionsError):
        return StoreUnavailable, "too many connections to Redis at once"
    if isinstance(error, AuthenticationError | AuthorizationError):
        return StoreMisconfigured, "Redis refuses the user or password"
    if isinstance(error, RedisConnectionError) and "Invalid Database" in str(error):
        return StoreMisconfigured, "Redis has no such database"
    if isinstance(error, RedisConnectionError | RedisTimeoutError | OSError):
        return StoreUnavailable, "Redis does not answer"
    if isinstance(error, DataError):
        return StoreMisconfigured, "Redis cannot be sent this"
    return StoreUnavailable, "Redis does not answer as Redis does"  # InvalidResponse and the like: half an answer


def _meaning_of_answer(error: RedisError) -> tuple[type[StoreError], str]:
    word = error_prefix(error)
    if word == "MISCONF" and _NO_SPACE in str(error):
        return StoreFull, "Redis' disk is full"
    if word is not None:
        return _MEANINGS[word]
    if isinstance(error, ExecAbortError):
        return StoreUnavailable, "Redis aborted a transaction"
    return StoreMisconfigured, "Redis refuses a command"


@contextmanager
def store_errors() -> Generator[None]:
    """Context manager that turns every failure of Redis into a StoreError."""
    try:
        yield
    except (RedisError, OSError, UnicodeDecodeError) as error:
        raise store_error(error) from error


def raises_store_errors(method: Callable[P, T]) -> Callable[P, T]:
    """Decorator that turns every failure of Redis into a StoreError. `method` may be a generator."""
    if inspect.isgeneratorfunction(method):

        @wraps(method)
        def generated(*args: P.args, **kwargs: P.kwargs) -> Any:
            with store_errors():
                yield from cast("Generator[Any]", method(*args, **kwargs))

        return cast("Callable[P, T]", generated)

    @wraps(method)
    def named(*args: P.args, **kwargs: P.kwargs) -> T:
        try:  # not store_errors(): this wraps every call, and a context manager costs microseconds
            return method(*args, **kwargs)
        except (RedisError, OSError, UnicodeDecodeError) as error:
            raise store_error(error) from error

    return named
