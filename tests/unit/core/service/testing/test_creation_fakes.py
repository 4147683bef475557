"""The fakes of idempotency keys and speeds keep the contract of the real ones (tests/integration/test_creating.py)."""

from __future__ import annotations

from functools import partial

import pytest

from core.service.domain.ports.idempotency import IN_FLIGHT_SECONDS, KEPT_SECONDS
from core.service.testing.clock import FakeClock
from core.service.testing.idempotency import FakeIdempotencyKeys
from core.service.testing.speed import FakeSpeeds
from tests.helpers.creation_contract import CreationContract, CreationPorts


class TestFakes(CreationContract):
    @pytest.fixture
    def ports(self) -> CreationPorts:
        clock = FakeClock()
        expire = partial(partial, clock.advance)
        return CreationPorts(FakeIdempotencyKeys(clock), FakeSpeeds(), expire(IN_FLIGHT_SECONDS), expire(KEPT_SECONDS))
