"""The limits of a caller's API key on the jobs and uploads that it makes and changes."""

from __future__ import annotations

from dataclasses import dataclass

from api.access.caller import Caller
from api.backends.ports import Ports
from core.service.admission.key_limits import check_longer, check_priority, check_spec, most_frames_of, settings_for
from core.service.domain import transitions
from core.service.domain.api_keys import KeyLimits
from core.service.domain.ports import Clock, Usage
from core.service.domain.priority import Priority
from core.service.domain.schema import JobRecord, JobSpec
from core.service.domain.usage import KeyUsage, check_limits
from core.service.settings import Settings

_NONE = KeyLimits()


def limits_on(caller: Caller, owner: str | None) -> KeyLimits | None:
    """The limits on a job or upload of `owner`; None: no limits. What an admin does to those of another key counts for
    that key, and is not limited."""
    key = caller.key
    return key.limits if key is not None and key.id == owner and key.limits != _NONE else None


@dataclass(frozen=True)
class OwnerLimits:
    """The limits on jobs of `owner`, and what they say now. Does nothing if there are none."""

    limits: KeyLimits | None
    owner: str
    max_priority: Priority
    """Of what the caller may ask for."""
    usage: Usage
    clock: Clock

    @classmethod
    def of(cls, caller: Caller, owner: str | None, ports: Ports) -> OwnerLimits:
        """What the caller may do to jobs of `owner`."""
        most = caller.max_priority if caller.owner == owner else Priority.HIGH
        return cls(limits_on(caller, owner), owner or "", most, ports.usage, ports.clock)

    def most_frames(self, known_frames: int = 0) -> int | None:
        """See most_frames_of."""
        if self.limits is None:
            return None
        usage = KeyUsage() if self.limits.frames_per_day is None else self.usage.of(self.owner)
        return most_frames_of(self.limits, usage, known_frames)

    def settings(self, settings: Settings, most_frames: int | None) -> Settings:
        """See settings_for."""
        return settings if self.limits is None else settings_for(self.limits, most_frames, settings)

    def priority(self, default: Priority) -> Priority:
        """The priority of what names none: `default`, or the highest that the caller may ask for."""
        return self.max_priority if default.is_above(self.max_priority) else default

    def check_spec(self, spec: JobSpec, known_frames: int = 0) -> None:
        """Raises LimitExceeded."""
        check_priority(spec.priority, self.max_priority)
        if self.limits is not None:
            check_spec(spec, self.limits, known_frames)

    def check_raised(self, spec: JobSpec, priority: Priority | None) -> None:
        """The same for a job that exists and gets this priority (None: it keeps its own). One that is no higher is
        always allowed: the key may have had more."""
        if priority is not None and priority.is_above(spec.priority):
            check_priority(priority, self.max_priority)

    def check_longer(self, spec: JobSpec, length: int, known_frames: int) -> None:
        """Raises LimitExceeded, also for frames that are added at a priority which the key may not have any more."""
        if length > known_frames:
            check_priority(spec.priority, self.max_priority, "PATCH its priority before it ends, or branch the job")
        if self.limits is not None:
            check_longer(spec, length, known_frames, self.limits)

    def check_new(self, queued: JobRecord) -> None:
        """Raises LimitReached if there is no room for a new job now. The job store makes sure."""
        if self.limits is not None:
            created = transitions.create(queued).record
            check_limits(None, created, self.usage.of(self.owner), self.limits, self.clock.now())
