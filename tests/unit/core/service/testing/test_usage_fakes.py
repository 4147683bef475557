"""The fakes count usage as the real ports do; tests/integration/test_usage.py holds those to the same contract."""

from __future__ import annotations

import pytest

from core.service.testing.clock import FakeClock
from core.service.testing.job_store import FakeJobStore
from core.service.testing.registries import FakeUploadStore
from core.service.testing.usage import FakeRequestCounts
from tests.helpers.usage_contract.contract import UsageContract
from tests.helpers.usage_contract.keys import UsagePorts


@pytest.fixture
def ports() -> UsagePorts:
    clock = FakeClock()
    store = FakeJobStore(clock)

    def lose_all() -> None:
        store.memory.records.clear()
        store.memory.chunks.clear()
        store.usage.clear()

    def mark_rebuilt() -> None:
        store.usage.complete = True

    uploads = FakeUploadStore(clock, store.usage)
    return UsagePorts(clock, store, uploads, store.usage, FakeRequestCounts(), lose_all, mark_rebuilt)


class TestFakeUsage(UsageContract):
    """The whole contract, in memory."""
