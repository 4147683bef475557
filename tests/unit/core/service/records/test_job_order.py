"""Order of jobs and page cursors."""

from __future__ import annotations

import pytest

from core.service.domain.errors import InvalidField
from core.service.records.job_order import cursor_from_member, index_member, member_from_cursor
from tests.helpers.jobs import queued_job


def test_a_cursor_leads_back_to_its_place() -> None:
    member = index_member(queued_job())
    assert member_from_cursor(cursor_from_member(member)) == member


@pytest.mark.parametrize("tail", ["A", "=", "==", "!", " "])
def test_a_cursor_that_was_touched_is_refused(tail: str) -> None:
    with pytest.raises(InvalidField):
        member_from_cursor(cursor_from_member(index_member(queued_job())) + tail)


def test_index_members_sort_by_creation_to_the_microsecond_then_by_id() -> None:
    jobs = [queued_job(2, age_seconds=1), queued_job(9, age_seconds=1e-6), queued_job(1), queued_job(2)]
    assert sorted(map(index_member, reversed(jobs))) == list(map(index_member, jobs))
