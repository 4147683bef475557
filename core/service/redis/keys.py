"""Names of all keys in Redis, and what each holds. Every key starts with "longtake:"."""

from __future__ import annotations

from core.service.domain.schema import LANES_OF_ANY_MODEL, Lane

JOB_KEYS = "longtake:job:"
"""How every key of a job begins, before its id."""
OUTBOX_DUE = "longtake:outbox:due"
WORKERS = "longtake:workers"
ALL_JOBS = "longtake:jobs:all"
DELETED_JOBS = "longtake:jobs:deleted"
EXPIRY = "longtake:jobs:expiry"
UPLOADS = "longtake:uploads"
UNSENT_UPLOADS = "longtake:uploads:unsent"
"""Those of which it is not known whether the file was sent, scored by the end of their URL."""
DISCARDED_UPLOADS = "longtake:uploads:discarded"
"""Those that a client has deleted, twice: their object goes at the score's time, once no job waits for it."""
UPLOADS_CLIENT_KEY = "longtake:uploads:client_key"
"""Secret with which addresses of clients become marks."""
READY_QUEUES = "longtake:ready"
"""Names of all queues of `ready_index` that have ever had a job."""
READY_JOBS = "longtake:jobs:ready"
"""Jobs that are in one of these queues. Every job not yet ended is, but those that are being cancelled."""
COMMITS = "longtake:commits"
STALE_MANIFESTS = "longtake:manifests:stale"
"""Jobs whose manifest is behind their record, scored by the revision that it must have."""
TOMBSTONES = "longtake:tombstones"
"""Deleted jobs, scored by the time at which their tombstone may go."""
ANNOUNCED = "longtake:jobs:announced"
"""Jobs whose manifest is being stored and whose record is not there yet, scored by the time of that."""
UNSWEPT = "longtake:jobs:unswept"
"""Ended jobs that may still have objects which nobody needs any more."""
MANIFESTS_BEING_READ = "longtake:janitor:manifests_being_read"
MANIFESTS_READ = "longtake:janitor:manifests_read"
"""Gone where Redis has lost everything: then records are rebuilt from the manifests."""


def job_key(job_id: str) -> str:
    """Hash of a job: `record` (JSON), `stop` ("1": whoever works on it shall stop) and the record's `revision`.

    Ends in a word of its own, so that no id that a client makes up can name another key.
    """
    return f"longtake:job:{job_id}:record"


def job_id_of(key: str) -> str:
    """The job to which a key belongs."""
    return key.removeprefix(JOB_KEYS).split(":", 1)[0]


def events_key(job_id: str) -> str:
    return f"longtake:job:{job_id}:events"


def progress_key(job_id: str, lane: Lane) -> str:
    return f"longtake:job:{job_id}:progress:{lane}"


def deliveries_key(job_id: str) -> str:
    """Hash: delivery id -> JSON."""
    return f"longtake:job:{job_id}:deliveries"


def unsent_key(job_id: str) -> str:
    """Ids of the job's deliveries that have not ended, by their place."""
    return f"longtake:job:{job_id}:unsent"


def lease_key(job_id: str, lane: Lane) -> str:
    """The fencing token of the live lease; expires with it."""
    return f"longtake:job:{job_id}:lease:{lane}"


def ready_queue(lane: Lane, model: str) -> str:
    """Where jobs wait that want this lane. Any CPU worker prepares media and joins videos, whatever the model."""
    return lane.value if lane in LANES_OF_ANY_MODEL else f"{lane.value}:{model}"


def ready_index(queue: str) -> str:
    """Of one `ready_queue`: jobs by rank, then age. They stay there while a worker has the lane."""
    return f"{READY_QUEUES}:{queue}"


def worker_lease_key(name: str) -> str:
    """What a worker claimed last: job, lane and token."""
    return f"{worker_key(name)}:lease"


def status_index(status: str) -> str:
    return f"longtake:jobs:status:{status}"


def queue_index(model: str) -> str:
    return f"longtake:jobs:queued:{model}"


def prepared_index(model: str) -> str:
    """Jobs whose media are ready and that have not begun."""
    return f"longtake:jobs:prepared:{model}"


def outbox_member(job_id: str, delivery_id: str) -> str:
    """How a delivery is named in OUTBOX_DUE. Neither id contains a space."""
    return f"{job_id} {delivery_id}"


def upload_key(upload_id: str) -> str:
    return f"longtake:upload:{upload_id}"


def uploads_of_client(client: str) -> str:
    """Scored by the end of their use: what an older version removes without knowing of this counts no longer then."""
    return f"longtake:uploads:of_client:{client}"


def worker_key(name: str) -> str:
    return f"longtake:worker:{name}"
