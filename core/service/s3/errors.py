"""Translates failures of an S3 server to StorageError classes.

The server's error code decides, then the HTTP status, then the class of boto's error. boto3 is imported only inside
functions that run after it was used.
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
    "BadDigest": StorageUnavailable,  # damaged in transit: a retry may succeed
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
_MESSAGES: tuple[tuple[str, type[StorageError]], ...] = (
    ("no space left", StorageFull),
    ("disk full", StorageFull),
    ("quota exceeded", StorageFull),
    ("read-only file system", StorageReadOnly),
    ("permission denied", StorageReadOnly),
)
"""Texts in the message of a server error: rclone and others pass on errors of their file system."""
_WRITES = frozenset({"PutObject", "DeleteObjects", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"})
_FIXES: dict[type[StorageError], str] = {
    StorageUnavailable: "check that the S3 server runs and its URL",
    StorageReadOnly: "check the rights of the key and of the server's disk",
    StorageFull: "make room or raise the quota",
    StorageMisconfigured: "check the S3 URL, bucket, region and keys",
}


def failures_of_boto() -> tuple[type[Exception], ...]:
    """Exceptions of boto3 calls that are caused by the server or the settings, not by a bug."""
    from http.client import HTTPException
    from socket import gaierror

    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    builtin = (ConnectionError, TimeoutError, gaierror, ValueError)  # ValueError: an endpoint that is not a URL
    return (ClientError, BotoCoreError, Boto3Error, ResponseParserError, HTTPError, HTTPException, *builtin)


def storage_error(doing: str, error: Exception) -> StorageError:
    """The StorageError for an error of boto3. Its text is for operators: it may hold addresses and keys."""
    kind = _meaning(error)
    return kind(f"{doing}: {error}", fix=_FIXES.get(kind))


def code_of(error: ClientError) -> str:
    """The server's error code; boto derives it from the status if the answer has no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _meaning(error: Exception) -> type[StorageError]:
    from boto3.exceptions import Boto3Error
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        return _meaning_of_answer(error)
    if isinstance(error, Boto3Error) and isinstance(error.__context__, boto.ClientError | boto.BotoCoreError):
        return _meaning(error.__context__)  # a multipart upload wraps the error
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
    named = next((kind for part, kind in _MESSAGES if part in text), None)
    if named is not None:
        return named
    if code == "AccessDenied" and error.operation_name in _WRITES:
        return StorageReadOnly
    busy = status >= 500 or code == "SlowDown" or "Throttl" in code or "TooManyRequests" in code
    return StorageUnavailable if busy else StorageMisconfigured


def _status_of(error: ClientError) -> int:
    return int(cast("int", error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)))


def is_missing_bucket(error: StorageError) -> bool:
    """Whether the server answered NoSuchBucket."""
    from botocore.exceptions import ClientError

    return isinstance(error.__cause__, ClientError) and code_of(error.__cause__) == "NoSuchBucket"
