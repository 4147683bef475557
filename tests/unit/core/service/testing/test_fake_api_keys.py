"""The fake keeps the contract of ports.ApiKeys (the real one: tests/integration/test_api_keys.py)."""

from __future__ import annotations

import pytest

from core.service.testing.api_keys import FakeApiKeys
from tests.helpers.api_keys_contract import ApiKeysContract


class TestFakeApiKeys(ApiKeysContract):
    @pytest.fixture
    def keys(self) -> FakeApiKeys:
        return FakeApiKeys()
