"""The order in which jobs are listed (time of creation, then id), and cursors of pages in it."""

from __future__ import annotations

import base64
import binascii
import re

from core.service.domain.errors import InvalidField
from core.service.domain.schema import JobRecord


def index_member(record: JobRecord) -> str:
    """How a job is named in an index: sorts by time of creation (microseconds), then id."""
    return f"{round(record.created_at.timestamp() * 1_000_000):016d}:{record.id}"


def job_id_of_member(member: str) -> str:
    return member.split(":")[1]


def cursor_from_member(member: str) -> str:
    return base64.urlsafe_b64encode(member.encode()).decode().rstrip("=")


def member_from_cursor(cursor: str) -> str:
    """Raises InvalidField for a cursor that `cursor_from_member` did not make."""
    try:
        member = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeError):
        member = ""
    if not re.fullmatch(r"\d{16}:[\w-]+", member, re.ASCII) or cursor_from_member(member) != cursor:
        raise InvalidField("cursor is not one of ours", field="cursor", fix="use next_cursor of the page before")
    return member
