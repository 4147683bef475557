"""Named errors of the service, each with a stable `code`, the field at fault and the fix.

LongtakeError
├── RequestError            the client's input is at fault; nothing was enqueued
│   ├── InvalidField            a field has a wrong type or value
│   ├── UnknownField            a field that no version knows
│   ├── FieldNotSupported       a field that this version has not built yet
│   ├── MalformedJson           the body is not JSON
│   ├── PromptTooLong           more tokens than the text encoder reads
│   ├── PromptNotUnderstood     no word that the model knows
│   ├── UnknownModel            no such preset
│   ├── TooManyFrames / TooFewFrames
│   ├── UrlRefused              scheme, host or address not allowed
│   │   ├── WebhookUrlRefused
│   │   └── MediaUrlRefused
│   ├── UploadTooLarge          more bytes declared than uploads may have
│   ├── UploadNotFound          no upload with this id, or its time is over
│   └── UploadIncomplete        not the declared bytes were sent to the upload's URL
├── MediaError              a given image or video cannot be used; the job fails
│   ├── MediaFetchFailed        its server did not answer (the only one that a retry may help)
│   ├── MediaUnavailable        its server refused
│   ├── MediaTooLarge           more bytes, pixels, seconds or decoding time than allowed
│   ├── MediaTypeRefused        not one of the types taken
│   ├── MediaUnreadable         damaged or cut off
│   └── VideoTooShort           fewer than 16 frames at the job's rate
├── ServiceFull             too many jobs wait already
├── TooManyStreams          the server holds as many event streams as it may
├── TooManyStreamsOfClient  one client holds as many event streams as it may
├── TooManyUploads          too many uploads of this client are kept already
├── UploadUnknown           no upload with this id, where it is asked for itself
├── JobNotFound             no job with this id
├── JobStateConflict        the job's status does not allow this
├── VideoNotReady           the final video does not exist yet
├── PlaylistNotReady        the first chunk does not exist yet
├── ChunkNotReady           this chunk does not exist yet
├── ChunkNotFound           the job has no such chunk and will not get it
├── RangeNotSatisfiable     bytes that the video does not have were asked for
├── MediaBusy               too many videos are being sent already
├── TooManyMediaStreamsOfClient  one client is being sent as many videos as it may
├── StaleLease              another worker holds a newer fencing token; nothing was committed
├── Interrupted             cancel, drain or a lost lease stopped a chunk; nothing was committed
├── PresetError             a preset cannot be read or loaded
│   └── ModelNotInstalled       its weights were not downloaded yet
├── DownloadError           the Hub's files cannot be had
│   ├── HubUnreachable          no network, or the Hub does not answer
│   ├── HubFileMissing          no such repository, revision or file there, or no right to it
│   └── DownloadDamaged         the bytes that came are not those that were announced
├── ConversionError         a published checkpoint cannot become a weights folder; nothing was left behind
│   ├── CheckpointUnreadable    not there, truncated, or of a format that is not read
│   ├── CheckpointUnsafe        its weights hold something else than tensors; nothing of it was run
│   ├── CheckpointMismatch      weights missing, unexpected, misshapen or of a wrong type
│   ├── ShardMissing            one file of several is not there
│   ├── WeightsOutOfRange       values that the wanted type cannot hold
│   ├── OutputRefused           the folder to write is in use, not empty or not writable
│   ├── OutputDiskFull          no room for the folder to write
│   └── WeightsDamaged          files differ from the checksums written with them
├── StoreError              Redis, or the broker, did not do what was asked
│   ├── StoreUnavailable        gone for a while: waiting helps
│   ├── StoreReadOnly           it answers and refuses writes (a replica, a failed save)
│   ├── StoreFull               no memory or disk left for writes
│   ├── StoreDamaged            what it holds cannot be read
│   └── StoreMisconfigured      wrong address, password or rights, or a bug of ours: waiting does not help
├── StorageError            the object store refused or did not answer
│   ├── ObjectNotFound          no object under this key
│   ├── ObjectDamaged           an object's bytes are not those that were stored
│   ├── StorageUnavailable      gone for a while: waiting helps
│   ├── StorageReadOnly         it answers and refuses writes
│   ├── StorageFull             no room left
│   └── StorageMisconfigured    wrong address, key or bucket, or a bug of ours: waiting does not help
├── NameServiceUnavailable  DNS does not answer: waiting helps
├── ChunkNotRepeatable      the same engine made other bytes of a chunk: what it was given has changed; the job fails
├── NotFinite               a network gave numbers that are not finite; the job fails
└── SetupError              a missing binary, a port in use, a full disk: one sentence for a person

This module knows no HTTP status: api/http/problems.py maps the classes.
"""

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
    JobNotFound,
    JobStateConflict,
    MediaBusy,
    NotFinite,
    PlaylistNotReady,
    RangeNotSatisfiable,
    ServiceFull,
    StaleLease,
    TooManyMediaStreamsOfClient,
    TooManyStreams,
    TooManyStreamsOfClient,
    TooManyUploads,
    UploadUnknown,
    VideoNotReady,
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
    InvalidField,
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

__all__ = [
    "MAX_ECHO",
    "CheckpointMismatch",
    "CheckpointUnreadable",
    "CheckpointUnsafe",
    "ChunkNotFound",
    "ChunkNotReady",
    "ChunkNotRepeatable",
    "ConversionError",
    "DownloadDamaged",
    "DownloadError",
    "FieldNotSupported",
    "HubFileMissing",
    "HubUnreachable",
    "Interrupted",
    "InvalidField",
    "JobNotFound",
    "JobStateConflict",
    "LongtakeError",
    "MalformedJson",
    "MediaBusy",
    "MediaError",
    "MediaFetchFailed",
    "MediaTooLarge",
    "MediaTypeRefused",
    "MediaUnavailable",
    "MediaUnreadable",
    "MediaUrlRefused",
    "ModelNotInstalled",
    "NameServiceUnavailable",
    "NotFinite",
    "ObjectDamaged",
    "ObjectNotFound",
    "OperatorError",
    "OutputDiskFull",
    "OutputRefused",
    "PlaylistNotReady",
    "PresetError",
    "PromptNotUnderstood",
    "PromptTooLong",
    "RangeNotSatisfiable",
    "RequestError",
    "ServiceFull",
    "SetupError",
    "ShardMissing",
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
    "VideoNotReady",
    "VideoTooShort",
    "WebhookUrlRefused",
    "WeightsDamaged",
    "WeightsOutOfRange",
    "shortened",
    "title_of",
]
