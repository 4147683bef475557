"""Every test gets a service of fakes of its own."""

from __future__ import annotations

import pytest

from tests.helpers.fake_world import World


@pytest.fixture
def world() -> World:
    return World()
