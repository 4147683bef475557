"""Names of all keys in Redis, and what each holds. Every key starts with "longtake:"."""

from __future__ import annotations

from datetime import date

from core.service.domain.priority import Priority
from core.service.domain.schema import LANES_OF_ANY_MODEL, Lane, Variant

MADE_KEYS = "longtake:made:"
"""Before the number of a bucket of domain.rates. Hash: lane, model, and what was made in it -> how much."""
JOB_KEYS = "longtake:job:"
"""Prefix of all keys of a job, before its id."""
OUTBOX_DUE = "longtake:outbox:due"
"""Pending deliveries, scored by the time when they are due."""
WORKERS = "longtake:workers"
API_KEYS = "longtake:api_keys"
"""Hash: id -> JSON of each API key."""
API_KEYS_READ = "longtake:api_keys:read"
"""redis.api_keys.READ once API_KEYS has all keys of the object store. Missing after Redis has lost its data: then keys
are read from there again."""
ALL_JOBS = "longtake:jobs:all"
DELETED_JOBS = "longtake:jobs:deleted"
EXPIRY = "longtake:jobs:expiry"
UPLOADS = "longtake:uploads"
UNSENT_UPLOADS = "longtake:uploads:unsent"
"""Uploads whose file is not known to have arrived, scored by the expiry of their URL."""
DISCARDED_UPLOADS = "longtake:uploads:discarded"
"""Deleted uploads, twice each: their object is removed at the time in the score, once no job waits for it."""
UPLOADS_CLIENT_KEY = "longtake:uploads:client_key"
"""Secret of domain.uploads.client_mark."""
QUEUES = "longtake:queues"
"""Names of all queues that have ever had a job."""
SCHEDULED_JOBS = "longtake:jobs:scheduled"
"""Jobs in any of these queues except that of the measure lane: all that have not ended, except canceling ones."""
MEASURED_LATER = "longtake:jobs:measured_later"
"""Jobs that have not ended and are to be measured then. One that an older version ends stays here."""
AWAITING_MEASURING = "longtake:jobs:awaiting_measuring"
"""Ended jobs that are to be measured, or are being measured: those in the queue of the measure lane."""
COMMITS = "longtake:commits"
STALE_MANIFESTS = "longtake:manifests:stale"
"""Jobs whose manifest is older than their record, scored by the revision that it must reach."""
TOMBSTONES = "longtake:tombstones"
"""Deleted jobs, scored by the expiry of their tombstone."""
UNFINISHED_CREATES = "longtake:jobs:announced"
"""Jobs between JobStore.begin_create and `create`, scored by the time of the former."""
CLEANUP_PENDING = "longtake:jobs:unswept"
"""Ended jobs that may still have objects which are not needed."""
SPEEDS = "longtake:speeds"
"""Hash: model and kind of chunk -> mean seconds per denoising step, lately."""
PAUSED = "longtake:paused"
"""Hash: what is paused ("everything", "model NAME", "worker NAME") -> since when."""
TOTAL_BYTES = "*"
"""Field of `stored_bytes_of`, of no job and no upload."""
MANIFESTS_BEING_READ = "longtake:janitor:manifests_being_read"
MANIFESTS_READ = "longtake:janitor:manifests_read"
"""Missing after Redis has lost its data: then records are rebuilt from the manifests."""


def job_key(job_id: str) -> str:
    """Hash of a job: `record` (JSON), `digest` of it, `stop` ("1": workers must stop), `revision` of the record, and
    `place`, what tells its place in the queue while it waits. Older versions wrote neither digest nor place.
    The outbox adds `webhooks_disabled`; `webhooks_dropped`, the number of ended deliveries that are not kept; and of
    those given up unsent `webhooks_skipped`, their number, `webhooks_skipped_to`, the version of the newest one, and
    `webhooks_skipped_before`, how many of them are in `webhooks_dropped`.

    Has a suffix of its own, so that no job id that a client makes up can collide with another key.
    """
    return f"longtake:job:{job_id}:record"


def job_id_of(key: str) -> str:
    """Job id in a key of a job."""
    return key.removeprefix(JOB_KEYS).split(":", 1)[0]


def events_key(job_id: str) -> str:
    """Stream: the event log."""
    return f"longtake:job:{job_id}:events"


def chunks_key(job_id: str, variant: Variant) -> str:
    """List: the job's chunk records (JSON) by index."""
    return f"longtake:job:{job_id}:{'chunks' if variant == 'preview' else 'refined'}"


def stale_pages_key(job_id: str) -> str:
    """Sorted set: whole pages of chunk records that are not in the object store, by the revision that changed them."""
    return f"longtake:job:{job_id}:stale_pages"


def progress_key(job_id: str, lane: Lane) -> str:
    """Stream with one entry: the newest progress of a lane."""
    return f"longtake:job:{job_id}:progress:{lane}"


def deliveries_key(job_id: str) -> str:
    """Hash: delivery id -> JSON."""
    return f"longtake:job:{job_id}:deliveries"


def unsent_key(job_id: str) -> str:
    """Sorted set: ids of the job's pending deliveries, by version of their commit."""
    return f"longtake:job:{job_id}:unsent"


def ended_deliveries_key(job_id: str) -> str:
    """Sorted set: ids of the job's deliveries that have ended, by version of their commit."""
    return f"longtake:job:{job_id}:ended"


def held_delivery_key(job_id: str) -> str:
    """Score in OUTBOX_DUE of the job's delivery that a sender holds; expires with the hold."""
    return f"longtake:job:{job_id}:held"


def pings_of(owner: str) -> str:
    """Sorted set: pings of an owner, by the time when they were asked for."""
    return f"longtake:outbox:pings:{owner}"


def lease_key(job_id: str, lane: Lane) -> str:
    """Fencing token of the live lease; expires with it."""
    return f"longtake:job:{job_id}:lease:{lane}"


def ready_queue(lane: Lane, model: str) -> str:
    """Name of the queue of jobs with work on this lane; lanes without an engine have one for all models."""
    return lane.value if lane in LANES_OF_ANY_MODEL else f"{lane.value}:{model}"


def queue_key(queue: str) -> str:
    """Prefix of the keys of one `ready_queue`; see schedule_scripts."""
    return f"longtake:queue:{queue}"


def entries_key(queue: str) -> str:
    """Hash: the jobs with work on one `ready_queue`, claimed ones too -> JSON of their entry."""
    return f"{queue_key(queue)}:entries"


def waiting_index(queue: str, priority: int) -> str:
    """Sorted set: the jobs of a `ready_queue` and a class (Priority.number) that a worker could take now, scored by the
    time since which they wait; see schedule_scripts."""
    return f"{queue_key(queue)}:{priority}:waiting"


def pool_key(pool: str) -> str:
    """Prefix of the keys of a pool, a model or a lane of any model; see schedule_scripts."""
    return f"longtake:pool:{pool}"


def worker_lease_key(name: str) -> str:
    """The last claim of a worker: job, lane and token."""
    return f"{worker_key(name)}:lease"


def jobs_index(owner: str | None, status: str | None) -> str:
    """Jobs of an owner (None: of all) in a status (None: in any)."""
    if owner is None:
        return ALL_JOBS if status is None else status_index(status)
    of_owner = f"longtake:jobs:owner:{owner}"
    return of_owner if status is None else f"{of_owner}:{status}"


def status_index(status: str) -> str:
    return f"longtake:jobs:status:{status}"


def queue_index(model: str) -> str:
    """Sorted set: queued jobs of a model by class (class_score), and of a class by age."""
    return f"longtake:jobs:queued:{model}"


def class_score(priority: Priority) -> int:
    """Score of a class in `queue_index`. 0 is normal: older versions, which know no classes, write that."""
    return priority.number - Priority.NORMAL.number


def prepared_index(model: str) -> str:
    """Queued jobs of a model whose input media are ready."""
    return f"longtake:jobs:prepared:{model}"


def outbox_member(job_id: str, delivery_id: str) -> str:
    """Member of OUTBOX_DUE for a delivery. Neither id contains a space."""
    return f"{job_id} {delivery_id}"


def upload_key(upload_id: str) -> str:
    return f"longtake:upload:{upload_id}"


def uploads_of_client(client: str) -> str:
    """Uploads of a client, scored by their expiry: those removed by an older version stop counting then."""
    return f"longtake:uploads:of_client:{client}"


def worker_key(name: str) -> str:
    return f"longtake:worker:{name}"


def idempotency_key(scope: str, digest: str) -> str:
    """Hash of one Idempotency-Key: `job` and `fingerprint`. With `:lock`: token of the request in flight."""
    return f"longtake:idempotency:{scope}:{digest}"


def requests_key(key_id: str, window: int) -> str:
    """Requests of an API key in one window of 60 seconds (number of it since 1970)."""
    return f"longtake:requests:{key_id}:{window}"


def unfinished_jobs_of(owner: str) -> str:
    """Set: ids of the jobs of an API key that have not ended."""
    return f"longtake:usage:{owner}:unfinished"


def stored_bytes_of(owner: str) -> str:
    """Hash: `bytes_of_job` and `bytes_of_upload` of an API key -> bytes; and TOTAL_BYTES -> their sum."""
    return f"longtake:usage:{owner}:bytes"


def bytes_of_job(job_id: str) -> str:
    """Field of a job in `stored_bytes_of`. A client may call a job as an upload is called."""
    return f"job:{job_id}"


def bytes_of_upload(upload_id: str) -> str:
    """Field of an upload in `stored_bytes_of`."""
    return f"upload:{upload_id}"


def frames_of(owner: str, day: date) -> str:
    """Frames of an API key that count on this day (UTC)."""
    return f"longtake:usage:{owner}:frames:{day}"
