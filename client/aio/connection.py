"""Sends calls with httpx.AsyncClient: repeats those that may be repeated, streams, and saves files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import httpx

from client.calls.call import TIMEOUT_SECONDS, Call, checked_url
from client.errors import ClientError, NotFound
from client.files import Download, OnBytes, whole_file
from client.key_auth import KeyAuth
from client.responses import error_of, unreachable
from client.retries import Retries

T = TypeVar("T")


class AsyncConnection:
    """One connection pool to one API. Raises ClientError if `url` is no http(s) URL."""

    def __init__(
        self,
        url: str,
        key: str | None,
        max_retries: int,
        poll_seconds: float,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.url = checked_url(url)
        self.poll_seconds = poll_seconds
        self._max_retries = max_retries
        self.http = httpx.AsyncClient(
            base_url=self.url,
            auth=KeyAuth(key, self.url),
            timeout=TIMEOUT_SECONDS,
            transport=transport,
            trust_env=False,
        )

    async def send(self, call: Call[T]) -> T:
        """The call's result, after repeating it if that is safe and can help. Raises ClientError."""
        retries = self.retries(call.can_be_repeated)
        while True:
            try:
                return await self._send_once(call)
            except ClientError as error:
                if retries.failures and call.if_gone is not None and isinstance(error, NotFound):
                    return call.if_gone()
                await self.pause(retries, error)

    def retries(self, can_be_repeated: bool = True) -> Retries:
        """Counts the failures of one call."""
        return Retries(self._max_retries if can_be_repeated else 0, self.poll_seconds)

    async def pause(self, retries: Retries, error: ClientError) -> None:
        """Wait until the next attempt. Raises `error` if there shall be none."""
        seconds = retries.pause_after(error)
        if seconds is None:
            raise error
        await asyncio.sleep(seconds)

    async def _send_once(self, call: Call[T]) -> T:
        content = None if call.content is None else _pieces(call.content())
        try:
            response = await self.http.request(call.method, call.url, content=content, **call.options)
        except httpx.RequestError as error:
            raise unreachable(error, self.url) from error
        if response.is_error:
            raise error_of(response)
        return call.read(response)

    @asynccontextmanager
    async def stream(self, call: Call[None]) -> AsyncGenerator[httpx.Response]:
        """One attempt to read a body piece by piece. Raises ClientError, also while the body is read."""
        try:
            async with self.http.stream(call.method, call.url, **call.options) as response:
                if response.is_error:
                    await response.aread()
                    raise error_of(response)
                yield response
        except httpx.RequestError as error:
            raise unreachable(error, self.url) from error

    async def download(self, url: str, path: Path, on_bytes: OnBytes) -> None:
        """Save a URL as `path`, which appears only when it is complete. Goes on where a cut connection ended."""
        with whole_file(path) as file:
            download, retries = Download(url, file, on_bytes), self.retries()
            while True:
                done_bytes = download.done_bytes
                try:
                    return await self._receive(download)
                except ClientError as error:
                    if download.done_bytes > done_bytes:
                        retries.reset()
                    await self.pause(retries, error)

    async def _receive(self, download: Download) -> None:
        has_begun = False
        while not has_begun:
            async with self.stream(download.call()) as response:
                has_begun = download.begin(response)
                if has_begun:
                    async for data in response.aiter_bytes():
                        download.write(data)


async def _pieces(content: Iterable[bytes]) -> AsyncIterator[bytes]:
    """httpx's AsyncClient takes async iterators only."""
    for piece in content:
        yield piece
