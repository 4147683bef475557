"""Pages of GET /v1/videos. OpenAI's package asks for the page after `last_id` of the one before.

`last_id` is the last video's place in the list, not its id: while a client lists videos and deletes each, as scripts
that clean up do, the id is gone before the next page is asked for.
"""

from __future__ import annotations

from api.access.caller import Caller
from core.service.domain.errors import InvalidField, JobNotFound, shortened
from core.service.domain.ids import is_job_id
from core.service.domain.ports import JobStore
from core.service.domain.schema import JobRecord
from core.service.records.job_order import cursor_from_member, index_member, member_from_cursor

MOST = 100
"""Videos of a page."""
_PLACE = "place_"


def place_of(record: JobRecord) -> str:
    """The job's place: `after` of the page that follows it."""
    return _PLACE + cursor_from_member(index_member(record))


def cursor_after(store: JobStore, caller: Caller, after: str) -> str:
    """The cursor of the page after a place, or after the caller's video with this id. Raises InvalidField."""
    try:
        if after.startswith(_PLACE):
            return cursor_from_member(member_from_cursor(after.removeprefix(_PLACE)))
        if is_job_id(after) and caller.owns(record := store.get(after)):
            return cursor_from_member(index_member(record))
    except (InvalidField, JobNotFound):
        pass
    message = f"there is no video {shortened(after, 64)}"
    raise InvalidField(message, field="after", fix="give last_id of the page before, or leave it out")
