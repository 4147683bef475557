"""Tests get its own service of fakes."""

from __future__ import annotations

import pytest

from tests.helpers.fake_world import World


@pytest.fixture
def world() -> World:
    return World()
