"""The contract of pauses, on the fake."""

import pytest

from core.service.domain.ports import Pauses
from core.service.testing.pauses import FakePauses
from tests.helpers.pauses_contract import PausesContract


@pytest.fixture
def pauses() -> Pauses:
    return FakePauses()


class TestFakePauses(PausesContract):
    """The whole contract, in memory."""
