"""Ids of jobs, uploads and pings: a prefix and 100 random bits in lower-case base32, so that none can be guessed; or,
for a job, what its client chose."""

from __future__ import annotations

import re
import secrets

JOB_ID_PREFIX, UPLOAD_ID_PREFIX, PING_ID_PREFIX = "job_", "upl_", "ping_"
_BASE32_LOWER = "abcdefghijklmnopqrstuvwxyz234567"
_LENGTH = 20
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def new_job_id() -> str:
    return _new_id(JOB_ID_PREFIX)


def is_job_id(text: str) -> bool:
    """Whether `text` has the form of a job's id, made here or by a client; there may be no such job."""
    return _JOB_ID.fullmatch(text) is not None


def new_upload_id() -> str:
    return _new_id(UPLOAD_ID_PREFIX)


def new_ping_id() -> str:
    return _new_id(PING_ID_PREFIX)


def is_upload_id(text: str) -> bool:
    """Whether `text` has the form of an upload id; there may be no such upload."""
    letters = text.removeprefix(UPLOAD_ID_PREFIX)
    return text.startswith(UPLOAD_ID_PREFIX) and len(letters) == _LENGTH and set(letters) <= set(_BASE32_LOWER)


def _new_id(prefix: str) -> str:
    return prefix + random_letters(_LENGTH)


def random_letters(length: int) -> str:
    """So many random characters of lower-case base32, 5 bits each."""
    return "".join(secrets.choice(_BASE32_LOWER) for _ in range(length))
