"""Keys are read once a second, many at a time, and never older than that."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from api.access.known_keys import MAX_KNOWN, KnownKeys
from core.service.domain.api_keys import ApiKey
from core.service.testing.api_keys import FakeApiKeys
from core.service.testing.clock import FakeClock
from tests.helpers.customers import stored_key


class CountedKeys(FakeApiKeys):
    """Counts the reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[list[str]] = []

    def find(self, key_ids: Sequence[str]) -> Sequence[ApiKey | None]:
        self.reads.append([*key_ids])
        return super().find(key_ids)


async def get_all(known: KnownKeys, *key_ids: str) -> list[ApiKey | None]:
    return [await known.get(key_id) for key_id in key_ids]


def test_a_key_is_read_once_a_second() -> None:
    keys, clock, key = CountedKeys(), FakeClock(), stored_key()
    keys.create(key)
    known = KnownKeys(keys, clock)

    async def ask() -> None:
        assert await get_all(known, key.id, key.id) == [key, key]
        clock.advance(0.9)
        await known.get(key.id)
        assert len(keys.reads) == 1
        clock.advance(0.1)
        await known.get(key.id)
        assert len(keys.reads) == 2

    asyncio.run(ask())


def test_a_key_that_does_not_exist_is_remembered_too() -> None:
    keys = CountedKeys()
    known = KnownKeys(keys, FakeClock())
    assert asyncio.run(get_all(known, "key_none", "key_none")) == [None, None]
    assert keys.reads == [["key_none"]]


def test_a_clock_that_is_set_back_keeps_no_key() -> None:
    keys, clock, key = CountedKeys(), FakeClock(), stored_key()
    keys.create(key)
    known = KnownKeys(keys, clock)

    async def ask() -> None:
        await known.get(key.id)
        clock.advance(-3600)
        await known.get(key.id)

    asyncio.run(ask())
    assert len(keys.reads) == 2


def test_a_key_that_was_changed_here_is_read_anew() -> None:
    keys, key = CountedKeys(), stored_key()
    keys.create(key)
    known = KnownKeys(keys, FakeClock())

    async def ask() -> None:
        await known.get(key.id)
        known.forget(key.id)
        await known.get(key.id)

    asyncio.run(ask())
    assert len(keys.reads) == 2


def test_ids_that_are_made_up_do_not_fill_the_memory() -> None:
    keys = CountedKeys()
    known = KnownKeys(keys, FakeClock())

    async def ask() -> None:
        await asyncio.gather(*(known.get(f"key_{number}") for number in range(MAX_KNOWN + 1)))
        before = len(keys.reads)
        await known.get("key_0")
        assert len(keys.reads) == before + 1, "the oldest one was forgotten"
        await known.get(f"key_{MAX_KNOWN}")
        assert len(keys.reads) == before + 1

    asyncio.run(ask())
