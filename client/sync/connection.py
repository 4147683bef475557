"""Sends calls with httpx.Client: repeats those that may be repeated, streams, and saves files."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
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


class Connection:
    """One connection pool to one API. Raises ClientError if `url` is no http(s) URL."""

    def __init__(
        self, url: str, key: str | None, max_retries: int, poll_seconds: float, transport: httpx.BaseTransport | None
    ) -> None:
        self.url = checked_url(url)
        self.poll_seconds = poll_seconds
        self._max_retries = max_retries
        self.http = httpx.Client(
            base_url=self.url,
            auth=KeyAuth(key, self.url),
            timeout=TIMEOUT_SECONDS,
            transport=transport,
            trust_env=False,
        )

    def send(self, call: Call[T]) -> T:
        """The call's result, after repeating it if that is safe and can help. Raises ClientError."""
        retries = self.retries(call.can_be_repeated)
        while True:
            try:
                return self._send_once(call)
            except ClientError as error:
                if retries.failures and call.if_gone is not None and isinstance(error, NotFound):
                    return call.if_gone()
                self.pause(retries, error)

    def retries(self, can_be_repeated: bool = True) -> Retries:
        """Counts the failures of one call."""
        return Retries(self._max_retries if can_be_repeated else 0, self.poll_seconds)

    def pause(self, retries: Retries, error: ClientError) -> None:
        """Wait until the next attempt. Raises `error` if there shall be none."""
        seconds = retries.pause_after(error)
        if seconds is None:
            raise error
        time.sleep(seconds)

    def _send_once(self, call: Call[T]) -> T:
        content = None if call.content is None else call.content()
        try:
            response = self.http.request(call.method, call.url, content=content, **call.options)
        except httpx.RequestError as error:
            raise unreachable(error, self.url) from error
        if response.is_error:
            raise error_of(response)
        return call.read(response)

    @contextmanager
    def stream(self, call: Call[None]) -> Generator[httpx.Response]:
        """One attempt to read a body piece by piece. Raises ClientError, also while the body is read."""
        try:
            with self.http.stream(call.method, call.url, **call.options) as response:
                if response.is_error:
                    response.read()
                    raise error_of(response)
                yield response
        except httpx.RequestError as error:
            raise unreachable(error, self.url) from error

    def download(self, url: str, path: Path, on_bytes: OnBytes) -> None:
        """Save a URL as `path`, which appears only when it is complete. Goes on where a cut connection ended."""
        with whole_file(path) as file:
            download, retries = Download(url, file, on_bytes), self.retries()
            while True:
                done_bytes = download.done_bytes
                try:
                    return self._receive(download)
                except ClientError as error:
                    if download.done_bytes > done_bytes:
                        retries.reset()
                    self.pause(retries, error)

    def _receive(self, download: Download) -> None:
        has_begun = False
        while not has_begun:
            with self.stream(download.call()) as response:
                has_begun = download.begin(response)
                if has_begun:
                    for data in response.iter_bytes():
                        download.write(data)
