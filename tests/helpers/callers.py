"""Clients of a deployment with API keys: its operator, its customers, and those who have a link only."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.testclient import TestClient

from core.service.domain.api_keys import Scope
from tests.helpers.api_world import BASE_URL, World
from tests.helpers.customers import ADMIN_KEY, bearer, customer


class Callers:
    """Clients of `app`, which is made with `customers.with_keys`."""

    def __init__(self, app: FastAPI, world: World) -> None:
        self.app = app
        self._world = world
        self.admin = self._client(bearer(ADMIN_KEY))
        self.nobody = self._client({})
        self.one, self.other = self.customer(), self.customer()

    def customer(self, scope: Scope = Scope.JOBS) -> TestClient:
        """A client with a key of its own."""
        return self._client(bearer(customer(self._world.keys, scope).text))

    def _client(self, headers: dict[str, str]) -> TestClient:
        return TestClient(
            self.app, base_url=BASE_URL, headers=headers, follow_redirects=False, raise_server_exceptions=False
        )


def path_of(url: str) -> str:
    """Path and query of an absolute URL."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def told(answer: Any) -> tuple[int, Any]:
    """Status and body of an answer in JSON."""
    return answer.status_code, answer.json()
