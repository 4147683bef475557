"""The caller of a request: everybody (without keys), the holder of a key, or the holder of a job's link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from core.service.domain.api_keys import ApiKey, Scope
from core.service.domain.priority import Priority
from core.service.domain.schema import JobRecord
from core.service.domain.uploads import Upload


@dataclass(frozen=True)
class Caller:
    """`key` None and `token` None: the deployment has no keys, and everybody may do everything."""

    key: ApiKey | None = None
    token: str | None = None
    """Of a job's link; not checked before the job is read."""

    @property
    def is_everybody(self) -> bool:
        """Whether the deployment has no keys, so that everybody may do everything."""
        return self.key is None and self.token is None

    @property
    def owner(self) -> str | None:
        """`owner` of what the caller creates."""
        return None if self.key is None else self.key.id

    @property
    def max_priority(self) -> Priority:
        """The highest priority of what the caller creates."""
        return Priority.HIGH if self.key is None else self.key.max_priority

    @property
    def share(self) -> float:
        """`share` of what the caller creates."""
        return 1.0 if self.key is None else self.key.share

    @property
    def sees_all(self) -> bool:
        """Whether the caller may see the jobs of all owners."""
        return self.is_everybody or (self.key is not None and self.key.may(Scope.ADMIN))

    @property
    def listed_owner(self) -> str | None:
        """Whose jobs a list has (JobStore.list); None: everybody's. A link opens no list."""
        if self.sees_all:
            return None
        assert self.key is not None
        return self.key.id

    def owns(self, record: JobRecord | Upload) -> bool:
        """Whether the caller's key may see the job or upload."""
        return self.sees_all or (self.key is not None and record.owner == self.key.id)


EVERYBODY = Caller()
NOBODY = Caller(token="")
"""The caller of a path that is open to all, where the others need a key: owns and sees no job."""


def caller_of(request: Request) -> Caller:
    """The caller, as Access has set it. For what runs in every request: a dependency costs 20 us there."""
    return cast(Caller, request.state.caller)


async def _caller(request: Request) -> Caller:
    return caller_of(request)


CallerDep = Annotated[Caller, Depends(_caller)]
