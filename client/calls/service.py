"""Calls about the whole service."""

from __future__ import annotations

from client.calls.call import Call, reads
from core.service.domain.service_status import ServiceStatus

STATUS_TIMEOUT_SECONDS = 10.0
"""The API answers within two seconds, also if Redis hangs."""


def status() -> Call[ServiceStatus]:
    """GET /status."""
    return Call("GET", "/status", reads(ServiceStatus), {"timeout": STATUS_TIMEOUT_SECONDS})
