"""The header Prefer (RFC 7240): `wait=SECONDS` and `respond-async`. Others, and values that make no sense, are ignored,
as the RFC wants it; Preference-Applied says what was heeded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from core.service.settings import Settings


@dataclass(frozen=True)
class Preferences:
    """`wait_seconds`: how long the answer may wait for the job's end, after the server's cap; 0: not at all."""

    wait_seconds: int = 0
    respond_async: bool = False

    def applied(self, *, waited: bool) -> dict[str, str]:
        """The header Preference-Applied, if there is anything to say. `waited`: the answer waited, or needed not to."""
        names = ["respond-async"] if self.respond_async else []
        names += [f"wait={self.wait_seconds}"] if self.wait_seconds and waited else []
        return {"Preference-Applied": ", ".join(names)} if names else {}


def preferences_of(values: list[str], most_seconds: int) -> Preferences:
    """What the header's values ask for. Of a preference that is given twice the first counts (RFC 7240, section 2)."""
    given: dict[str, str] = {}
    for part in ",".join(values).split(","):
        name, _, value = part.partition(";")[0].partition("=")
        given.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = given.get("wait", "")
    seconds = int(wait) if re.fullmatch(r"[0-9]{1,9}", wait) else 0
    return Preferences(min(seconds, most_seconds), "respond-async" in given)


async def _preferences(request: Request) -> Preferences:
    settings = cast(Settings, request.app.state.settings)
    return preferences_of(request.headers.getlist("Prefer"), settings.max_wait_seconds)


PreferencesDep = Annotated[Preferences, Depends(_preferences)]
PARAMETER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`wait=SECONDS`: answer when the job has ended, or after so long; `respond-async`: answer at once.",
    "schema": {"type": "string"},
    "example": "wait=30",
}
"""For the OpenAPI document."""
