"""The status graph, and what a record says about work to do."""

from __future__ import annotations

from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.ports import Lease
from core.service.domain.refine_plan import is_ready
from core.service.domain.schema import LANES_WITH_STEPS, JobRecord, JobStatus, Lane, LaneState

NEXT_STATUSES: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.FINALIZING, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.RUNNING: frozenset({JobStatus.CANCELING, JobStatus.FINALIZING, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.CANCELING: frozenset({JobStatus.FINALIZING, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.FINALIZING: frozenset({JobStatus.RUNNING, JobStatus.SUCCEEDED, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.SUCCEEDED: frozenset({JobStatus.QUEUED}),
    JobStatus.FAILED: frozenset({JobStatus.QUEUED}),
    JobStatus.CANCELED: frozenset({JobStatus.QUEUED}),
    JobStatus.EXPIRED: frozenset(),
}
"""The status graph. A queued job that has chunks (a branch, or one that goes on) is finalized when it is canceled. A
job with damaged chunks goes back from finalizing; an ended one that is extended or retried is queued again. Nothing
leads to expired: retention removes jobs altogether."""


ACTIVE_STATUSES = tuple(status for status in JobStatus if not status.is_terminal)


TAKES_CHUNKS = frozenset({JobStatus.RUNNING, JobStatus.CANCELING})


ALL_LANES = tuple(Lane)


POISON_DEATHS = 5
"""A lane that killed this many workers, while other jobs made commits, is taken to be the cause."""


LONELY_DEATHS = 20
"""The same if no other job made commits meanwhile: machines die for many reasons."""


def is_kept(state: LaneState, lease: Lease) -> bool:
    """Whether the holder of `lease` has committed and kept the lane, under the next token. Only the commit under that
    very lease makes such a claim, so that its worker may not know of it yet."""
    return state.held and state.token == state.kept_token == lease.token + 1


def is_same_job(one: JobRecord, other: JobRecord) -> bool:
    """Whether both records are of one job, whatever its progress."""
    return (one.id, one.spec, one.created_at) == (other.id, other.spec, other.created_at)


def wants(record: JobRecord, lane: Lane) -> bool:
    """Whether there is work for this lane now."""
    if record.delete_requested:
        return False
    if lane is Lane.PREPARE:
        awaits = awaits_media(record) or awaits_copies(record)
        return record.status in {JobStatus.QUEUED, JobStatus.RUNNING} and awaits
    if lane is Lane.FINALIZE:
        return record.status is JobStatus.FINALIZING
    if lane is Lane.MEASURE:
        return awaits_measuring(record)
    if lane is Lane.REFINE:
        return record.status is JobStatus.RUNNING and not record.repairs and is_ready(record)
    if awaits_media(record) or awaits_copies(record):
        return False
    if record.repairs:
        return record.status is JobStatus.RUNNING
    return record.status in {JobStatus.QUEUED, JobStatus.RUNNING} and not record.is_complete


def has_final_video(record: JobRecord) -> bool:
    """Whether the job has ended with a video. A failed one may still have that of an earlier generation."""
    return record.status in {JobStatus.SUCCEEDED, JobStatus.CANCELED} and record.video_key is not None


def awaits_measuring(record: JobRecord) -> bool:
    """Whether an ended job is to be measured, or is being measured."""
    return record.spec.measure and has_final_video(record) and record.measurement is None


def should_start_at_once(record: JobRecord) -> bool:
    """Whether a queued job has work, none of it on the lane whose first claim starts a job: no new frame is missing."""
    return bool(record.repairs) or record.is_complete


def awaits_copies(record: JobRecord) -> bool:
    """Whether a branch has no copies yet of the chunks that it shares."""
    return record.branched_from is not None and not record.chunks.count


def frames_made_or_shared(record: JobRecord) -> int:
    """Frames that the job has; of a branch without its copies, those that it gets with them."""
    if record.branched_from is None or record.chunks.count:
        return record.frames_done
    return CHUNK_FRAMES * record.branched_from.from_chunk


def awaits_media(record: JobRecord) -> bool:
    """Whether input media must be prepared before generation. They are needed for chunk 0 only, also when it or the
    state after it must be generated again."""
    if awaits_copies(record):
        return False
    has_media = record.spec.input_media is not None
    return has_media and record.prepared is None and (not record.chunks.count or record.prepare_again)


def needs_media_again(record: JobRecord) -> bool:
    """Whether a job that goes on with the chunks of an ended one needs its input media, which are removed at a job's
    end: later chunks are made from a whole video too."""
    return record.prepare_again or (record.prepared is not None and record.prepared.whole_video)


def lanes_with_progress(record: JobRecord) -> tuple[Lane, ...]:
    """Lanes that may have reported progress."""
    if record.status is not JobStatus.RUNNING:
        return ()
    return LANES_WITH_STEPS if record.spec.refine else (Lane.GENERATE,)


def is_prepared_ahead(record: JobRecord) -> bool:
    """Whether the job is queued and its input media are ready."""
    return record.status is JobStatus.QUEUED and record.prepared is not None and not record.delete_requested


def is_poison(state: LaneState) -> bool:
    """Whether the lane's work has killed so many workers that it must not be tried again."""
    return state.deaths - state.lonely_deaths >= POISON_DEATHS or state.deaths >= LONELY_DEATHS


def should_stop(record: JobRecord) -> bool:
    """Whether workers on this job must stop at their next denoising step."""
    return record.cancel_requested or record.delete_requested or record.status.is_terminal
