"""What every failure of an S3 server means: one StorageError class per meaning, whatever boto3 throws.

Decided by the server's own error code, then by the HTTP status, then by the class of boto's error. Imports boto3 only
where it has been used, and so is loaded, already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from core.service.domain.errors import (
    ObjectDamaged,
    ObjectNotFound,
    StorageError,
    StorageFull,
    StorageMisconfigured,
    StorageReadOnly,
    StorageUnavailable,
)

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_CODES: dict[str, type[StorageError]] = {
    "404": ObjectNotFound,
    "NoSuchKey": ObjectNotFound,
    "NotFound": ObjectNotFound,
    "NoSuchBucket": StorageMisconfigured,
    "BadDigest": StorageUnavailable,  # damaged on the way there: another try may do better
    "ConditionalRequestConflict": StorageUnavailable,
    "IncompleteBody": StorageUnavailable,
    "OperationAborted": StorageUnavailable,
    "RequestTimeout": StorageUnavailable,
    "InsufficientStorage": StorageFull,
    "QuotaExceeded": StorageFull,
    "XMinioStorageFull": StorageFull,
    "XMinioAdminBucketQuotaExceeded": StorageFull,
}
_STATUSES: dict[int, type[StorageError]] = {
    408: StorageUnavailable,
    429: StorageUnavailable,
    507: StorageFull,
}
_WORDS: tuple[tuple[str, type[StorageError]], ...] = (
    ("no space left", StorageFull),
    ("disk full", StorageFull),
    ("quota exceeded", StorageFull),
    ("read-only file system", StorageReadOnly),
    ("permission denied", StorageReadOnly),
)
"""Words in a server error's message: rclone and others pass their system's on."""
_WRITES = frozenset({"PutObject", "DeleteObjects", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"})
_FIXES: dict[type[StorageError], str] = {
    StorageUnavailable: "check that the S3 server runs and its URL",
    StorageReadOnly: "check the rights of the key and of the server's disk",
    StorageFull: "make room or raise the quota",
    StorageMisconfigured: "check the S3 URL, bucket, region and keys",
}


def failures_of_boto() -> tuple[type[Exception], ...]:
    """What a call of boto3 may throw because of the server or the settings; nothing that would be a bug of ours."""
    from http.client import HTTPException
    from socket import gaierror

    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    ours = (ConnectionError, TimeoutError, gaierror, ValueError)  # ValueError: an endpoint that is no URL
    return (ClientError, BotoCoreError, Boto3Error, ResponseParserError, HTTPError, HTTPException, *ours)


def storage_error(doing: str, error: Exception) -> StorageError:
    """`error` by its meaning. Its text is for operators: it may hold addresses and keys."""
    kind = _meaning(error)
    return kind(f"{doing}: {error}", fix=_FIXES.get(kind))


def code_of(error: ClientError) -> str:
    """The server's own error code; for answers without a body boto makes it of the status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _meaning(error: Exception) -> type[StorageError]:
    from boto3.exceptions import Boto3Error
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        return _meaning_of_answer(error)
    if isinstance(error, Boto3Error) and isinstance(error.__context__, boto.ClientError | boto.BotoCoreError):
        return _meaning(error.__context__)  # an upload in parts wraps what happened
    if isinstance(error, boto.FlexibleChecksumError | boto.ChecksumError):
        return ObjectDamaged
    if isinstance(error, boto.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return StorageMisconfigured
    away = (
        boto.HTTPClientError, boto.EndpointConnectionError, boto.ConnectionError, boto.IncompleteReadError,
        boto.ResponseStreamingError, boto.CredentialRetrievalError, boto.MetadataRetrievalError,
    )  # fmt: skip
    if isinstance(error, boto.BotoCoreError | Boto3Error | ValueError) and not isinstance(error, away):
        return StorageMisconfigured
    return StorageUnavailable


def _meaning_of_answer(error: ClientError) -> type[StorageError]:
    code, status = code_of(error), _status_of(error)
    if code in _CODES:
        return _CODES[code]
    if status in _STATUSES:
        return _STATUSES[status]
    text = str(error.response.get("Error", {}).get("Message", "")).lower()
    named = next((kind for words, kind in _WORDS if words in text), None)
    if named is not None:
        return named
    if code == "AccessDenied" and error.operation_name in _WRITES:
        return StorageReadOnly
    busy = status >= 500 or code == "SlowDown" or "Throttl" in code or "TooManyRequests" in code
    return StorageUnavailable if busy else StorageMisconfigured


def _status_of(error: ClientError) -> int:
    return int(cast("int", error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)))


def is_missing_bucket(error: StorageError) -> bool:
    """Whether `error` is S3's word that the bucket is not there."""
    from botocore.exceptions import ClientError

    return isinstance(error.__cause__, ClientError) and code_of(error.__cause__) == "NoSuchBucket"
