"""Every change of a job as a pure function: JobRecord -> Transition. Only here is the status graph enforced.

A store applies a Transition (the new record with its events, webhook deliveries and released lane) in one transaction.
`rules` answers questions about a record; the other modules change it.
"""

from core.service.domain.transitions.branches import commit_copies
from core.service.domain.transitions.commits import (
    commit_and_claim,
    commit_chunk,
    commit_prepare,
    commit_refined,
    commit_repair,
    repair,
)
from core.service.domain.transitions.entries import after_next_chunk, entry_of, place_of
from core.service.domain.transitions.events import KEPT_EVENTS, NewEvent
from core.service.domain.transitions.generations import MAX_GENERATIONS, extend, retry
from core.service.domain.transitions.lanes import abandon, claim, release
from core.service.domain.transitions.length import first_open_frame
from core.service.domain.transitions.lifecycle import (
    TOMBSTONE_TIME,
    begin_finalizing,
    create,
    end_webhooks,
    fail,
    finish,
    request_cancel,
    request_delete,
    revoke_links,
)
from core.service.domain.transitions.made import made_in
from core.service.domain.transitions.measuring import ask_measuring, commit_measurement, give_up_measuring
from core.service.domain.transitions.restore import TOKENS_SKIPPED_BY_RESTORE, restore
from core.service.domain.transitions.rules import (
    ACTIVE_STATUSES,
    LONELY_DEATHS,
    NEXT_STATUSES,
    POISON_DEATHS,
    TAKES_CHUNKS,
    awaits_copies,
    awaits_measuring,
    awaits_media,
    has_final_video,
    is_kept,
    is_poison,
    is_prepared_ahead,
    is_same_job,
    lanes_with_progress,
    needs_media_again,
    should_stop,
    wants,
)
from core.service.domain.transitions.steering import MAX_STEERINGS, steer
from core.service.domain.transitions.transition import ChunkWrite, Transition

__all__ = [
    "ACTIVE_STATUSES",
    "KEPT_EVENTS",
    "LONELY_DEATHS",
    "MAX_GENERATIONS",
    "MAX_STEERINGS",
    "NEXT_STATUSES",
    "POISON_DEATHS",
    "TAKES_CHUNKS",
    "TOKENS_SKIPPED_BY_RESTORE",
    "TOMBSTONE_TIME",
    "ChunkWrite",
    "NewEvent",
    "Transition",
    "abandon",
    "after_next_chunk",
    "ask_measuring",
    "awaits_copies",
    "awaits_measuring",
    "awaits_media",
    "begin_finalizing",
    "claim",
    "commit_and_claim",
    "commit_chunk",
    "commit_copies",
    "commit_measurement",
    "commit_prepare",
    "commit_refined",
    "commit_repair",
    "create",
    "end_webhooks",
    "entry_of",
    "extend",
    "fail",
    "finish",
    "first_open_frame",
    "give_up_measuring",
    "has_final_video",
    "is_kept",
    "is_poison",
    "is_prepared_ahead",
    "is_same_job",
    "lanes_with_progress",
    "made_in",
    "needs_media_again",
    "place_of",
    "release",
    "repair",
    "request_cancel",
    "request_delete",
    "restore",
    "retry",
    "revoke_links",
    "should_stop",
    "steer",
    "wants",
]
