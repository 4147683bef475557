"""The manifest of a new job whose key has reached a limit: it is not left behind."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import LimitReached, StorageUnavailable, UsageUnknown
from core.service.domain.manifest import manifest_key
from core.service.domain.schema import JobRecord
from core.service.records.manifest_writer import create_job
from core.service.records.stored_jobs import read_job
from core.service.testing.clock import FakeClock
from core.service.testing.job_store import FakeJobStore
from core.service.testing.storage import FakeStorage
from tests.helpers.jobs import queued_job

NO_JOBS = KeyLimits(unfinished_jobs=0)
OWNED = queued_job().model_copy(update={"owner": "key_a"})


class OvertakenStore(FakeJobStore):
    """Another request creates the same job after the first one was refused."""

    def create(self, record: JobRecord, limits: KeyLimits | None = None) -> JobRecord:
        try:
            return super().create(record, limits)
        except LimitReached:
            super().create(record)
            raise


def test_a_job_beyond_the_limits_leaves_no_manifest() -> None:
    """Or it would run after all, once Redis is lost before the janitor comes."""
    store, storage = FakeJobStore(), FakeStorage()
    with pytest.raises(LimitReached):
        create_job(store, storage, OWNED, NO_JOBS)
    assert not storage.objects


def test_a_job_whose_limits_are_not_known_leaves_no_manifest() -> None:
    """Redis was lost: the manifest would become a job, although the client was told to ask again."""
    store, storage = FakeJobStore(), FakeStorage()
    store.usage.clear()
    with pytest.raises(UsageUnknown):
        create_job(store, storage, OWNED, NO_JOBS)
    assert not storage.objects


def test_a_job_that_another_request_creates_meanwhile_keeps_its_manifest() -> None:
    store, storage = OvertakenStore(), FakeStorage()
    with pytest.raises(LimitReached):
        create_job(store, storage, OWNED, NO_JOBS)
    assert read_job(storage, OWNED.id)[0] == store.get(OWNED.id)


def test_the_limit_is_told_even_if_the_manifest_cannot_be_removed() -> None:
    """The janitor removes it."""

    class Kept(FakeStorage):
        def delete(self, keys: Sequence[str]) -> None:
            del keys
            raise StorageUnavailable

    clock, storage = FakeClock(), Kept()
    store = FakeJobStore(clock)
    with pytest.raises(LimitReached):
        create_job(store, storage, OWNED, NO_JOBS)
    assert [*storage.objects] == [manifest_key(OWNED.id)]
    assert store.unfinished_creates(clock.now()) == [OWNED.id]
