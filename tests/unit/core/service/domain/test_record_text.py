"""Records as text: shorter than with every field, and read as the same record, by this version and by others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from core.service.domain.schema import JobRecord, JobStatus, Lane, LaneState, read_record, record_text
from core.service.domain.schema.record_text import ALWAYS_WRITTEN
from tests.helpers.jobs import DAY_ONE, queued_job, refine_spec, with_chunks

BEGUN = with_chunks(queued_job(num_frames=64, refine=refine_spec(), seed=0), 2, 1).model_copy(
    update={"status": JobStatus.RUNNING, "started_at": DAY_ONE, "lanes": {Lane.GENERATE: LaneState(token=3, held=True)}}
)


@pytest.mark.parametrize(
    "record", [queued_job(), queued_job(num_frames=None, endless_limit=4800, metadata={"take": "1"}), BEGUN]
)
def test_a_record_is_read_as_it_was(record: JobRecord) -> None:
    read, inside = read_record(record_text(record))
    assert (read, inside.preview) == (record, ())


def test_a_queued_job_is_less_than_half_as_long_without_its_defaults() -> None:
    assert len(record_text(queued_job())) < len(queued_job().model_dump_json()) / 2


def test_what_a_newer_version_wrote_is_kept() -> None:
    content = json.loads(record_text(BEGUN))
    content |= {"unknown": {"a": None}}
    content["lanes"]["generate"]["unknown"] = 0
    content["spec"]["unknown"] = False
    again = json.loads(record_text(read_record(json.dumps(content))[0]))
    assert again["unknown"] == {"a": None}
    assert (again["lanes"]["generate"]["unknown"], again["spec"]["unknown"]) == (0, False)


def test_fields_that_other_versions_look_at_are_there() -> None:
    content = json.loads(record_text(queued_job()))
    assert content["lanes"] == {}
    assert content["chunks"]["count"] == content["refined"]["count"] == 0
    assert content["spec"]["webhook_events"] == list(queued_job().spec.webhook_events)


def test_only_defaults_that_say_nothing_are_left_out() -> None:
    always = {name for names in ALWAYS_WRITTEN.values() for name in names}
    saying = {name: value for name, value in _defaults(JobRecord) if value and name not in always}
    assert not saying, "another version may have another default: add the field to ALWAYS_WRITTEN"


def _defaults(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """Names and defaults of the optional fields of a model and of the models in it; of models themselves None."""
    for name, field in model.model_fields.items():
        if not field.is_required():
            yield name, field.get_default(call_default_factory=True)
        for part in _models_in(field.annotation):
            yield from _defaults(part)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
