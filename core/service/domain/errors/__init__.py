"""Named errors of the service, each with a stable `code`, the field at fault and the fix.

LongtakeError
├── RequestError            the client's input is at fault; nothing was enqueued
│   ├── InvalidField            a field has a wrong type or value
│   ├── UnknownField            a field that no version knows
│   ├── FieldNotSupported       a field that this version or this model does not take
│   ├── MalformedJson           the body is not JSON
│   ├── MalformedForm           the body is not multipart/form-data
│   ├── InvalidIdempotencyKey   not 1 to 255 printable ASCII characters
│   ├── IdempotencyKeyReused    sent before with another request
│   ├── PromptTooLong           more tokens than the text encoder reads
│   ├── PromptNotUnderstood     no word that the model knows
│   ├── UnknownModel            no such preset
│   ├── TooManyFrames / TooFewFrames
│   ├── UrlRefused              scheme, host or address not allowed
│   │   ├── WebhookUrlRefused
│   │   └── MediaUrlRefused
│   ├── UploadTooLarge          more bytes declared than uploads may have
│   ├── UploadNotFound          no upload with this id, or it has expired
│   ├── UploadIncomplete        the declared bytes were not sent to the upload's URL
│   └── LimitExceeded           more than the API key may ever have
├── KeyRefused              no API key, or not a valid one
├── ScopeMissing            the API key may not do this
├── LinkExpired             the token in a link has expired
├── KeyNotFound             no API key with this id
├── KeyRevoked              the API key is revoked and cannot be changed
├── KeysNotUsed             this deployment has no API keys
├── LimitReached            the API key has used what it may, for now
├── UsageUnknown            Redis was lost; what the API key uses of its limits is not counted yet
├── DeliveryNotFound        the job has no webhook delivery with this id
├── DeliveryConflict        a webhook of the job is being sent, or waits before this one
├── PingNotFound            no ping with this id, or its hour is over
├── MediaError              input media cannot be used; the job fails
│   ├── MediaFetchFailed        its server did not answer (the only one worth a retry)
│   ├── MediaUnavailable        its server refused
│   ├── MediaTooLarge           more bytes, pixels, seconds or decoding time than allowed
│   ├── MediaTypeRefused        not one of the accepted types
│   ├── MediaUnreadable         damaged or cut off
│   └── VideoTooShort           fewer than 16 frames at the job's rate
├── ServiceFull             too many jobs wait already
├── TooManyStreams          the server holds as many event streams as it may
├── TooManyStreamsOfClient  one client holds as many event streams as it may
├── TooManyUploads          too many uploads of this client are stored already
├── UploadUnknown           no upload with this id (GET or DELETE of the upload itself)
├── JobNotFound             no job with this id
├── JobStateConflict        the job's status does not allow this
├── JobExists               another job has this id
├── SourceGone              the job whose chunks a branch shares is gone
├── JobDeleted              a job with this id was deleted within the last day
├── RequestInFlight         the same request is being handled
├── PromptEnhancerFailed    the chat endpoint gave no usable prompt; the job runs with the client's
├── VideoNotReady           the final video does not exist yet
├── MetricsNotAsked         nobody asked for metrics of the job
├── MetricsNotReady         the video is not measured yet
├── MeasuringFailed         the video could not be measured
├── VideoUnmeasurable       the final video is missing, unreadable or too long; it is not measured
├── PlaylistNotReady        the first chunk does not exist yet
├── ThumbnailNotReady       the same, for a picture
├── ChunkNotReady           this chunk does not exist yet
├── ChunkNotFound           the job has no such chunk and will not get it
├── RangeNotSatisfiable     the requested bytes are not in the video
├── MediaBusy               the server sends as many videos as it may
├── TooManyMediaStreamsOfClient  one client receives as many videos as it may
├── StaleLease              another worker holds a newer fencing token; nothing was committed
├── Interrupted             cancel, drain or a lost lease stopped a chunk; nothing was committed
├── PresetError             a preset cannot be read or loaded
│   └── ModelNotInstalled       its weights are not downloaded
├── DownloadError           files of the Hub cannot be downloaded
│   ├── HubUnreachable          no network, or the Hub does not answer
│   ├── HubFileMissing          no such repository, revision or file, or no access to it
│   └── DownloadDamaged         the downloaded bytes do not match their checksum
├── ConversionError         a published checkpoint cannot be converted; no output is left behind
│   ├── CheckpointUnreadable    missing, truncated, or of an unsupported format
│   ├── CheckpointUnsafe        it holds something other than tensors; nothing in it was executed
│   ├── CheckpointMismatch      weights missing, unexpected, or of a wrong shape or type
│   ├── ShardMissing            one file of a sharded checkpoint is missing
│   ├── WeightsOutOfRange       values outside the range of the requested type
│   ├── OutputRefused           the output folder is in use, not empty or not writable
│   ├── OutputDiskFull          no disk space for the output folder
│   └── WeightsDamaged          files differ from the checksums written with them
├── StoreError              Redis, or the broker, failed
│   ├── StoreUnavailable        temporarily down: waiting helps
│   ├── StoreReadOnly           refuses writes (a replica, a failed save)
│   ├── StoreFull               no memory or disk left
│   ├── StoreDamaged            stored data cannot be read
│   └── StoreMisconfigured      wrong address, password or rights, or a bug of ours: waiting does not help
├── StorageError            the object store failed
│   ├── ObjectNotFound          no object under this key
│   ├── ObjectDamaged           an object's bytes do not match its checksum
│   ├── StorageUnavailable      temporarily down: waiting helps
│   ├── StorageReadOnly         refuses writes
│   ├── StorageFull             no space left
│   └── StorageMisconfigured    wrong address, key or bucket, or a bug of ours: waiting does not help
├── NameServiceUnavailable  DNS does not answer: waiting helps
├── ChunkNotRepeatable      the same engine generated other bytes: its inputs have changed; the job fails
├── InvalidChunk            the engine returned something other than the chunk that was asked for
├── NotFinite               a network produced NaN or infinite values; the job fails
└── SetupError              a missing binary, a port in use, a full disk: one sentence for the operator

Classes whose message may hold addresses, folders or keys derive from OperatorError. HTTP statuses are in
api/http/problems.py.
"""

from core.service.domain.errors.access import (
    KeyNotFound,
    KeyRefused,
    KeyRevoked,
    KeysNotUsed,
    LimitExceeded,
    LimitReached,
    LinkExpired,
    ScopeMissing,
    UsageUnknown,
)
from core.service.domain.errors.backends import (
    NameServiceUnavailable,
    ObjectDamaged,
    ObjectNotFound,
    SetupError,
    StorageError,
    StorageFull,
    StorageMisconfigured,
    StorageReadOnly,
    StorageUnavailable,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreReadOnly,
    StoreUnavailable,
)
from core.service.domain.errors.base import MAX_ECHO, LongtakeError, OperatorError, shortened, title_of
from core.service.domain.errors.jobs import (
    ChunkNotFound,
    ChunkNotReady,
    ChunkNotRepeatable,
    Interrupted,
    InvalidChunk,
    JobDeleted,
    JobExists,
    JobNotFound,
    JobStateConflict,
    MeasuringFailed,
    MediaBusy,
    MetricsNotAsked,
    MetricsNotReady,
    NotFinite,
    PlaylistNotReady,
    PromptEnhancerFailed,
    RangeNotSatisfiable,
    RequestInFlight,
    ServiceFull,
    SourceGone,
    StaleLease,
    ThumbnailNotReady,
    TooManyMediaStreamsOfClient,
    TooManyStreams,
    TooManyStreamsOfClient,
    TooManyUploads,
    UploadUnknown,
    VideoNotReady,
    VideoUnmeasurable,
)
from core.service.domain.errors.media import (
    MediaError,
    MediaFetchFailed,
    MediaTooLarge,
    MediaTypeRefused,
    MediaUnavailable,
    MediaUnreadable,
    VideoTooShort,
)
from core.service.domain.errors.models import (
    CheckpointMismatch,
    CheckpointUnreadable,
    CheckpointUnsafe,
    ConversionError,
    DownloadDamaged,
    DownloadError,
    HubFileMissing,
    HubUnreachable,
    ModelNotInstalled,
    OutputDiskFull,
    OutputRefused,
    PresetError,
    ShardMissing,
    WeightsDamaged,
    WeightsOutOfRange,
)
from core.service.domain.errors.requests import (
    FieldNotSupported,
    IdempotencyKeyReused,
    InvalidField,
    InvalidIdempotencyKey,
    MalformedForm,
    MalformedJson,
    MediaUrlRefused,
    PromptNotUnderstood,
    PromptTooLong,
    RequestError,
    TooFewFrames,
    TooManyFrames,
    UnknownField,
    UnknownModel,
    UploadIncomplete,
    UploadNotFound,
    UploadTooLarge,
    UrlRefused,
    WebhookUrlRefused,
)
from core.service.domain.errors.webhooks import DeliveryConflict, DeliveryNotFound, PingNotFound

__all__ = [
    "MAX_ECHO",
    "CheckpointMismatch",
    "CheckpointUnreadable",
    "CheckpointUnsafe",
    "ChunkNotFound",
    "ChunkNotReady",
    "ChunkNotRepeatable",
    "ConversionError",
    "DeliveryConflict",
    "DeliveryNotFound",
    "DownloadDamaged",
    "DownloadError",
    "FieldNotSupported",
    "HubFileMissing",
    "HubUnreachable",
    "IdempotencyKeyReused",
    "Interrupted",
    "InvalidChunk",
    "InvalidField",
    "InvalidIdempotencyKey",
    "JobDeleted",
    "JobExists",
    "JobNotFound",
    "JobStateConflict",
    "KeyNotFound",
    "KeyRefused",
    "KeyRevoked",
    "KeysNotUsed",
    "LimitExceeded",
    "LimitReached",
    "LinkExpired",
    "LongtakeError",
    "MalformedForm",
    "MalformedJson",
    "MeasuringFailed",
    "MediaBusy",
    "MediaError",
    "MediaFetchFailed",
    "MediaTooLarge",
    "MediaTypeRefused",
    "MediaUnavailable",
    "MediaUnreadable",
    "MediaUrlRefused",
    "MetricsNotAsked",
    "MetricsNotReady",
    "ModelNotInstalled",
    "NameServiceUnavailable",
    "NotFinite",
    "ObjectDamaged",
    "ObjectNotFound",
    "OperatorError",
    "OutputDiskFull",
    "OutputRefused",
    "PingNotFound",
    "PlaylistNotReady",
    "PresetError",
    "PromptEnhancerFailed",
    "PromptNotUnderstood",
    "PromptTooLong",
    "RangeNotSatisfiable",
    "RequestError",
    "RequestInFlight",
    "ScopeMissing",
    "ServiceFull",
    "SetupError",
    "ShardMissing",
    "SourceGone",
    "StaleLease",
    "StorageError",
    "StorageFull",
    "StorageMisconfigured",
    "StorageReadOnly",
    "StorageUnavailable",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "StoreMisconfigured",
    "StoreReadOnly",
    "StoreUnavailable",
    "ThumbnailNotReady",
    "TooFewFrames",
    "TooManyFrames",
    "TooManyMediaStreamsOfClient",
    "TooManyStreams",
    "TooManyStreamsOfClient",
    "TooManyUploads",
    "UnknownField",
    "UnknownModel",
    "UploadIncomplete",
    "UploadNotFound",
    "UploadTooLarge",
    "UploadUnknown",
    "UrlRefused",
    "UsageUnknown",
    "VideoNotReady",
    "VideoTooShort",
    "VideoUnmeasurable",
    "WebhookUrlRefused",
    "WeightsDamaged",
    "WeightsOutOfRange",
    "shortened",
    "title_of",
]
