"""Waiting in tests: poll until a condition holds or the deadline passes. The only place where tests may sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class DeadlinePassed(AssertionError):
    """What a test waited for did not happen in time."""


def eventually(look: Callable[[], T | None], what: str, *, seconds: float = 60.0, pause_seconds: float = 0.05) -> T:
    """The first value of `look()` that is neither None nor False. Raises DeadlinePassed with the last one seen.

    `what` completes the sentence "waited for ...".
    """
    deadline = time.monotonic() + seconds
    while True:
        value = look()
        if value is not None and value is not False:
            return value
        if time.monotonic() > deadline:
            raise DeadlinePassed(f"waited {seconds:g} s for {what}")
        time.sleep(pause_seconds)


async def eventually_on_the_loop(
    look: Callable[[], T | None], what: str, *, seconds: float = 60.0, pause_seconds: float = 0.001
) -> T:
    """The same without keeping the event loop from anything."""
    deadline = time.monotonic() + seconds
    while True:
        value = look()
        if value is not None and value is not False:
            return value
        if time.monotonic() > deadline:
            raise DeadlinePassed(f"waited {seconds:g} s for {what}")
        await asyncio.sleep(pause_seconds)


async def one_turn(seconds: float = 0.0) -> None:
    """Let the event loop do what is ready."""
    await asyncio.sleep(seconds)
