"""The job schema: what a client sends (`request`), what is stored (`spec`, `record`), what a client reads (`answers`).

Pure pydantic models. Checks that depend on a preset or on settings are in `core.service.admission`.
"""

from core.service.domain.schema.answers import Chunk, ChunkList, Job, JobEvent, JobList, JobSummary, Links, Progress
from core.service.domain.schema.base import Frozen, Shown, Stored
from core.service.domain.schema.chunks import VARIANTS, ChunkLists, ChunkRecord, ChunkTotals
from core.service.domain.schema.older import read_older_record, read_record
from core.service.domain.schema.record import (
    FingerprintChange,
    JobError,
    JobRecord,
    JobWarning,
    LaneState,
    PreparedMedia,
    StateChecksum,
    StepProgress,
    WarningCode,
)
from core.service.domain.schema.request import (
    DEFAULT_PROFILE,
    MAX_SEED,
    MIN_FRAMES,
    NOISE_LEVELS,
    REFINE_TAGS,
    FirstChunkOptions,
    JobRequest,
    MetadataKey,
    MetadataValue,
    Profile,
    RefineAsked,
    RefineOptions,
    RefineSchedule,
    Variant,
)
from core.service.domain.schema.spec import FirstChunkSampling, JobSpec, RefineSpec
from core.service.domain.schema.status import (
    DEFAULT_WEBHOOK_EVENTS,
    LANES_OF_ANY_MODEL,
    LANES_WITH_STEPS,
    EventType,
    JobStatus,
    Lane,
    WebhookEvent,
)

__all__ = [
    "DEFAULT_PROFILE",
    "DEFAULT_WEBHOOK_EVENTS",
    "LANES_OF_ANY_MODEL",
    "LANES_WITH_STEPS",
    "MAX_SEED",
    "MIN_FRAMES",
    "NOISE_LEVELS",
    "REFINE_TAGS",
    "VARIANTS",
    "Chunk",
    "ChunkList",
    "ChunkLists",
    "ChunkRecord",
    "ChunkTotals",
    "EventType",
    "FingerprintChange",
    "FirstChunkOptions",
    "FirstChunkSampling",
    "Frozen",
    "Job",
    "JobError",
    "JobEvent",
    "JobList",
    "JobRecord",
    "JobRequest",
    "JobSpec",
    "JobStatus",
    "JobSummary",
    "JobWarning",
    "Lane",
    "LaneState",
    "Links",
    "MetadataKey",
    "MetadataValue",
    "PreparedMedia",
    "Profile",
    "Progress",
    "RefineAsked",
    "RefineOptions",
    "RefineSchedule",
    "RefineSpec",
    "Shown",
    "StateChecksum",
    "StepProgress",
    "Stored",
    "Variant",
    "WarningCode",
    "WebhookEvent",
    "read_older_record",
    "read_record",
]
