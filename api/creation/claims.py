"""At most one request at a time creates the job of an Idempotency-Key, or of an id that a client chose."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass

from core.service.domain.errors import (
    IdempotencyKeyReused,
    JobDeleted,
    JobExists,
    JobNotFound,
    RequestInFlight,
    StoreError,
)
from core.service.domain.ids import new_job_id
from core.service.domain.ports import IdempotencyKeys, JobStore
from core.service.domain.schema import JobRecord

OWN_IDS = "ids"
"""Scope of ids that clients chose. They belong to everyone, unlike keys."""


@dataclass(frozen=True)
class Claim:
    """The right to create the job `job_id`. End it with `forget` or `release` if the job was not created."""

    job_id: str
    keys: IdempotencyKeys
    scope: str = ""
    key: str | None = None
    token: str = ""

    def forget(self) -> None:
        """The request was refused."""
        if self.key is not None:
            with suppress(StoreError):  # then it expires
                self.keys.forget(self.scope, self.key, self.token)

    def release(self) -> None:
        """The job may or may not exist."""
        if self.key is not None:
            with suppress(StoreError):
                self.keys.release(self.scope, self.key, self.token)


class Claims:
    """Each method returns the job if it exists already, else a claim. `owner`: whose jobs and Idempotency-Keys."""

    def __init__(self, store: JobStore, keys: IdempotencyKeys, owner: str | None) -> None:
        self._store = store
        self._keys = keys
        self._owner = owner

    def of_nobody(self) -> Claim:
        """For a request without key and id."""
        return Claim(new_job_id(), self._keys)

    def of_key(self, key: str, fingerprint: str) -> Claim | JobRecord:
        """Raises IdempotencyKeyReused, RequestInFlight, JobDeleted, StoreError."""
        scope, token, job_id = self._owner or "", secrets.token_hex(8), new_job_id()
        reserved = self._keys.reserve(scope, key, fingerprint, token, job_id)
        if reserved.fingerprint != fingerprint:
            raise IdempotencyKeyReused(
                "this Idempotency-Key was sent with another request",
                field="Idempotency-Key",
                fix="send a new key, or the request as it was",
            )
        found = None if reserved.is_new else self.existing(reserved.job_id)
        if found is not None:
            return found
        if not reserved.is_mine:
            raise _in_flight()
        return Claim(reserved.job_id, self._keys, scope, key, token)

    def of_id(self, job_id: str, fingerprint: str) -> Claim | JobRecord:
        """Raises JobExists if the job was made by another request, RequestInFlight, JobDeleted, StoreError."""
        token = secrets.token_hex(8)
        found = self.existing(job_id)
        if found is None:
            if self._keys.reserve(OWN_IDS, job_id, "", token, job_id).is_mine:
                return Claim(job_id, self._keys, OWN_IDS, job_id, token)
            found = self.existing(job_id)  # the other request has just created it
        if found is None:
            raise _in_flight()
        return self.same(found, fingerprint)

    def same(self, found: JobRecord, fingerprint: str) -> JobRecord:
        """`found`, if this request would have made it. Raises JobExists."""
        if (found.owner, found.request_sha256) != (self._owner, fingerprint):
            raise JobExists(f"{found.id} exists and was made by another request", fix="choose another id")
        return found

    def existing(self, job_id: str) -> JobRecord | None:
        """Raises JobDeleted, StoreError."""
        try:
            return self._store.get(job_id)
        except JobNotFound:
            if self._store.has_tombstone(job_id):
                fix = "choose another id, or send another Idempotency-Key"
                raise JobDeleted(f"{job_id} was deleted within the last day", fix=fix) from None
            return None


def _in_flight() -> RequestInFlight:
    return RequestInFlight("an earlier request for this job is being handled", fix="send it again in a second")
