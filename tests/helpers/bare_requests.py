"""Many requests to an application in one event loop. A TestClient starts a thread and a loop for each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI


@dataclass(frozen=True)
class BareRequest:
    """`target` is what stands in the request line: path and query, as they are sent. `json` is the body."""

    method: str
    target: str
    headers: dict[str, str]
    json: bytes = b""

    def scope(self, app: FastAPI) -> dict[str, Any]:
        """Of ASGI 3.0, as a server makes it: the path is decoded once."""
        path, _, query = self.target.partition("?")
        sent = {"host": "testserver", "accept": "*/*", **self.headers}
        if self.json:
            sent |= {"content-type": "application/json", "content-length": str(len(self.json))}
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": "",
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in sent.items()],
            "client": ("testclient", 50000),
            "server": ("testserver", 80),
            "app": app,
        }


def statuses(app: FastAPI, requests: Iterable[BareRequest]) -> list[int]:
    """The status of each answer, in order; one request after the other. What the application raises is raised."""

    async def all_of_them() -> list[int]:
        return [await _status(app, request) for request in requests]

    return asyncio.run(all_of_them())


async def _status(app: FastAPI, request: BareRequest) -> int:
    answered = asyncio.Event()
    body = [{"type": "http.request", "body": request.json, "more_body": False}]
    status = list[int]()

    async def receive() -> dict[str, Any]:
        if body:
            return body.pop()
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            status.append(message["status"])
        elif message.get("body") or not message.get("more_body", False):
            answered.set()  # a stream may have no end: its client leaves after the first part

    await app(request.scope(app), receive, send)
    return status[0]
