"""The port that lets one request at a time create a job, and remembers which job a key has made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

KEPT_SECONDS = 24 * 3600
"""A key is remembered for this long after its first request."""
IN_FLIGHT_SECONDS = 60
"""A request that has neither created its job nor released its key by then has died; the next one takes over."""


@dataclass(frozen=True)
class Reservation:
    """What is remembered of a key. `is_mine`: the caller may create the job, nobody else does so meanwhile."""

    job_id: str
    fingerprint: str
    is_mine: bool
    is_new: bool
    """The key was unknown before, so there is no job yet."""


class IdempotencyKeys(Protocol):
    """Keys of clients, by `scope` (whose keys they are). Raises StoreError if the store does not answer.

    The id of a job is chosen before the job is created, so that a retry finds the job even if the first request died
    right after creating it.
    """

    def reserve(self, scope: str, key: str, fingerprint: str, token: str, job_id: str) -> Reservation:
        """What is remembered of `key`; if nothing is, `fingerprint` of the request and `job_id` from now on.

        It is the caller's if no other request with this key is in flight and the fingerprint is the remembered one.
        `token` is of this call alone: `release` and `forget` do nothing for a key that another request took over.
        """
        ...

    def release(self, scope: str, key: str, token: str) -> None:
        """The request failed, but may have created the job: the next one with this key need not wait."""
        ...

    def forget(self, scope: str, key: str, token: str) -> None:
        """The request was refused: the key is as new."""
        ...
