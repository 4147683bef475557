"""Errors of requests about webhooks."""

from __future__ import annotations

from core.service.domain.errors.base import LongtakeError


class DeliveryNotFound(LongtakeError):
    """The job has no such webhook delivery."""

    code = "delivery_not_found"


class DeliveryConflict(LongtakeError):
    """The webhook cannot be sent again now."""

    code = "delivery_conflict"


class PingNotFound(LongtakeError):
    """There is no such ping, or it is older than an hour."""

    code = "ping_not_found"
