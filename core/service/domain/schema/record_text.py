"""A record as text: without the fields that have their defaults, which are most of them while a job waits.

Reading fills them in again, in this version and in others (`Stored`). So the default of a stored field must never
change, unless it is in ALWAYS_WRITTEN.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.service.domain.schema.record import JobRecord

ALWAYS_WRITTEN: Mapping[str, frozenset[str]] = {
    "record": frozenset({"chunks", "refined", "lanes", "share"}),
    "spec": frozenset({"webhook_events", "priority"}),
}
"""Fields that are written even with their defaults. By `chunks` and `refined` versions without totals see that they
cannot read the record; scripts of the version before index `lanes`; the others have defaults that say something, and
another version may have another one."""


def record_text(record: JobRecord) -> str:
    """The record as JSON, less than half as long for a queued job. `read_record` reads it."""
    content = record.model_dump(mode="json", exclude_defaults=True)
    of_spec = record.spec.model_dump(mode="json", include=set(ALWAYS_WRITTEN["spec"]))
    _add_missing(content, record.model_dump(mode="json", include=set(ALWAYS_WRITTEN["record"])))
    _add_missing(content["spec"], of_spec)
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _add_missing(content: dict[str, Any], always: Mapping[str, Any]) -> None:
    for name, value in always.items():
        content.setdefault(name, value)
