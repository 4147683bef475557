"""Blocking calls from the event loop, in thread pools of their own so that no other call delays them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from core.service.domain.errors import StoreError
from worker.runtime.server_retry import FINAL_ERRORS

T = TypeVar("T")
STORE_PAUSE_SECONDS = 1.0


class StoreCalls:
    """A pool of `num_threads`. Set `stopping` to end retries."""

    def __init__(self, name: str, num_threads: int) -> None:
        self.stopping = False
        self._threads = ThreadPoolExecutor(num_threads, name)

    async def once(self, call: Callable[[], T]) -> T:
        """Raises what `call` raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def retried(self, call: Callable[[], T]) -> T:
        """Retry while the store is away, so that no webhook is sent twice. Raises StoreError when stopping."""
        while True:
            try:
                return await self.once(call)
            except FINAL_ERRORS:
                raise
            except StoreError:
                if self.stopping:
                    raise
                await asyncio.sleep(STORE_PAUSE_SECONDS)

    def close(self) -> None:
        self._threads.shutdown(wait=False)
