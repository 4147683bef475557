"""A deployment with API keys over fakes, for every test in this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from fastapi import FastAPI

from tests.helpers.api_world import World
from tests.helpers.callers import Callers
from tests.helpers.customers import with_keys


@pytest.fixture
def callers(world: World) -> Iterator[Callers]:
    settings = with_keys(world.settings).model_copy(update={"media": "proxy"})
    with world.client(settings) as api:
        yield Callers(cast(FastAPI, api.app), world)
