"""Which failed requests are sent again, and when. No I/O: the clients wait and send.

Only requests whose effect is the same however often they arrive are repeated. Pauses double from a first one, never
end before the answer's Retry-After, and have jitter, so that many clients do not come back at the same moment.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from client.errors import ApiError, ApiUnreachable, ClientError, LimitReached, ServiceUnavailable, StorageUnreachable

MAX_PAUSE_SECONDS = 60.0
"""An answer that asks for a longer pause is raised at once: a caller would take it for a hang."""
IN_FLIGHT = "request_in_flight"
"""Code of the 409 that a repeated creation gets while the API still handles the one whose answer was lost."""
TOO_SLOW = "request_timeout"
"""Code of the 408 for a request that arrived too slowly: nothing of it was done."""


@dataclass
class Retries:
    """The failures in a row of one request or stream. Raised is the one after `most`."""

    most: int
    first_pause_seconds: float
    failures: int = field(default=0, init=False)

    def pause_after(self, error: ClientError) -> float | None:
        """Seconds to wait before the next attempt; None if there shall be none."""
        pause = self._pause(error)
        if self.failures >= self.most or pause > MAX_PAUSE_SECONDS or not can_succeed_later(error):
            return None
        self.failures += 1
        return pause

    def reset(self) -> None:
        """An attempt got somewhere: count from zero."""
        self.failures = 0

    def _pause(self, error: ClientError) -> float:
        asked = error.retry_after_seconds if isinstance(error, ApiError) else None
        own = min(self.first_pause_seconds * 2**self.failures, MAX_PAUSE_SECONDS / 2)
        return max(asked or 0.0, own) + own * random.random() / 4  # noqa: S311 - spreads clients, hides nothing


def can_succeed_later(error: ClientError) -> bool:
    """Whether the same request can succeed when it is sent again. Of an error that the API itself named, its
    Retry-After says so; a request that the API did not receive in time needs none."""
    if isinstance(error, ApiUnreachable | StorageUnreachable):
        return True
    if not isinstance(error, ApiError):
        return False
    if isinstance(error, LimitReached | ServiceUnavailable):
        return error.code in {None, TOO_SLOW} or error.retry_after_seconds is not None
    return error.code == IN_FLIGHT
