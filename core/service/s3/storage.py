"""The object storage port over any S3 server: AWS, R2, Ceph, SeaweedFS, or the embedded rclone.

Two endpoints: workers and API use the internal one; URLs for clients are signed for the public one, since the host is
part of the signature.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from core.service.domain.errors import ObjectNotFound, StorageMisconfigured, StorageUnavailable
from core.service.domain.ports import Clock, StoredObject
from core.service.domain.s3_addressing import place_of, style_of
from core.service.net.circuit_breaker import CircuitBreaker
from core.service.net.resolver import check_name
from core.service.s3.errors import code_of, failures_of_boto, is_missing_bucket, storage_error
from core.service.s3.presign import MAX_EXPIRES_SECONDS, SigningKey, presign_get, presign_put
from core.service.settings import Settings

# Some S3 servers (rclone among them) answer a byte range with status 200. A browser would cache such an answer as the
# whole object: after playing chunk 0's head, it would play the chunk itself truncated.
_CACHE_CONTROL = "no-store"
_BUCKET_EXISTS_CODES = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})
_DELETE_BATCH = 1000  # the most that DeleteObjects takes
_PIECE_BYTES = 1 << 20
_INTERNAL_URL_SECONDS = 300
"""Used at once, but clocks may differ."""


@dataclass(frozen=True)
class Timeouts:
    """Time limits and number of attempts of one call."""

    connect_seconds: float
    read_seconds: float
    attempts: int


WORKER = Timeouts(connect_seconds=5.0, read_seconds=20.0, attempts=2)
"""Workers retry failures themselves (worker/runtime/server_retry.py)."""
REQUEST = Timeouts(connect_seconds=0.5, read_seconds=1.2, attempts=1)
"""For HTTP requests: answers or fails within two seconds."""


class S3Storage:
    """ports.Storage in settings.s3_bucket. Thread-safe; one instance per process."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        timeouts: Timeouts = WORKER,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        """`clock` gives the time of signatures (default: system time). With a `breaker`, calls fail at once for
        a moment after the server did not answer."""
        self._settings = settings
        self._bucket = settings.s3_bucket
        self._clock = clock
        self._timeouts = timeouts
        self._breaker = breaker
        self._making = Lock()
        self._made_session: Any = None
        self._made_client: Any = None

    # boto3 is untyped, hence Any. It is imported on first use, so that a process that only signs URLs does not wait for
    # it. It has its own session because the default one is not safe for creating clients in several threads.
    @property
    def _session(self) -> Any:
        with self._making:
            return self._session_under_lock()

    @property
    def _client(self) -> Any:
        if self._made_client is None:
            with self._making:
                self._made_client = self._made_client or self._new_client(self._session_under_lock())
        return self._made_client

    def _session_under_lock(self) -> Any:
        if self._made_session is None:
            import boto3.session

            self._made_session = boto3.session.Session(region_name=self._settings.s3_region)
        return self._made_session

    def _new_client(self, session: Any) -> Any:
        from botocore.config import Config
        from botocore.handlers import add_expect_header

        settings, timeouts = self._settings, self._timeouts
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": style_of(settings.s3_addressing, settings.s3_endpoint_url)},
            request_checksum_calculation="when_required",  # servers other than AWS refuse the newer default
            response_checksum_validation="when_required",
            retries={"mode": "standard", "total_max_attempts": timeouts.attempts},
            connect_timeout=timeouts.connect_seconds,
            read_timeout=timeouts.read_seconds,
            max_pool_connections=50,  # as many as an API has threads
        )
        secret = settings.s3_secret_access_key
        client = session.client(
            "s3",
            endpoint_url=settings.s3_endpoint_url,
            aws_access_key_id=settings.s3_access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            config=config,
        )
        # No Expect: 100-continue: botocore waits up to a second for the answer, and loops forever without a pause if
        # the connection ends after the status line.
        client.meta.events.unregister("before-call.s3", add_expect_header)
        return client

    def ensure_bucket(self) -> None:
        """Create the bucket if it does not exist. Idempotent, also with concurrent processes."""
        try:
            self.check()
        except ObjectNotFound:
            region = self._settings.s3_region
            # AWS refuses us-east-1 as a constraint and requires it for other regions.
            constraint = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            with self._translated_errors(f"creating bucket {self._bucket}", ignore=_BUCKET_EXISTS_CODES):
                self._client.create_bucket(Bucket=self._bucket, **constraint)

    def check(self) -> None:
        """Raise StorageError if the bucket cannot be reached (ObjectNotFound if it does not exist)."""
        with self._translated_errors(f"reaching bucket {self._bucket}"):
            self._client.head_bucket(Bucket=self._bucket)

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Creates a missing bucket: the API may store something before any worker has started."""
        try:
            self._put(key, data, content_type)
        except StorageMisconfigured as refusal:
            if not is_missing_bucket(refusal):
                raise
            self.ensure_bucket()
            self._put(key, data, content_type)

    def _put(self, key: str, data: bytes, content_type: str) -> None:
        with self._translated_errors(f"storing {key}"):
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=data, ContentType=content_type, CacheControl=_CACHE_CONTROL
            )

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Store a file of any size; large ones as a multipart upload."""
        extra = {"ContentType": content_type, "CacheControl": _CACHE_CONTROL}
        with self._translated_errors(f"storing {key}"):
            self._client.upload_file(str(path), self._bucket, key, ExtraArgs=extra)

    def get(self, key: str) -> bytes:
        with self._translated_errors(f"reading {key}"):
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()

    def copy(self, source: str, target: str) -> None:
        with self._translated_errors(f"copying {source}"):
            place = {"Bucket": self._bucket, "Key": source}
            self._client.copy_object(Bucket=self._bucket, Key=target, CopySource=place)

    def pieces(self, key: str) -> Iterator[bytes]:
        with self._translated_errors(f"reading {key}"):
            yield from self._client.get_object(Bucket=self._bucket, Key=key)["Body"].iter_chunks(_PIECE_BYTES)

    def look_up(self, key: str) -> StoredObject:
        with self._translated_errors(f"looking up {key}"):
            answer = self._client.head_object(Bucket=self._bucket, Key=key)
        return StoredObject(size_bytes=answer["ContentLength"], content_type=answer.get("ContentType", ""))

    def exists(self, key: str) -> bool:
        try:
            self.look_up(key)
        except ObjectNotFound:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        """Keys under a prefix, page by page."""
        with self._translated_errors(f"listing {prefix}"):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for entry in page.get("Contents", ()):
                    yield entry["Key"]

    def delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _DELETE_BATCH):
            objects = [{"Key": key} for key in keys[start : start + _DELETE_BATCH]]
            with self._translated_errors("deleting objects"):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
                _raise_first(answer.get("Errors", ()), "DeleteObjects")

    def delete_prefix(self, prefix: str) -> int:
        """Delete all objects under a prefix; returns how many. Lists first, since deleting may shift pages."""
        keys = [*self.list(prefix)]
        self.delete(keys)
        return len(keys)

    def url(self, key: str, *, download_name: str | None = None) -> str:
        """A presigned GET, valid for url_ttl_seconds to twice that. All processes give the same text within a period of
        url_ttl_seconds. With temporary credentials it expires with them, if that is sooner."""
        least = self._settings.url_ttl_seconds
        period = max(1, min(least, MAX_EXPIRES_SECONDS - least))
        seconds = int(self._now().timestamp())
        signed_at = datetime.fromtimestamp(seconds - seconds % period, UTC)
        query = {"response-content-disposition": f'attachment; filename="{download_name}"'} if download_name else {}
        expires = min(period + least, MAX_EXPIRES_SECONDS)
        endpoint, path = self._place(self._public_endpoint, key)
        return presign_get(endpoint, path, self._signing_key(), signed_at, expires, query)

    def upload_url(self, key: str, headers: Mapping[str, str], ttl_seconds: int) -> str:
        signed_at = self._now().replace(microsecond=0)
        endpoint, path = self._place(self._public_endpoint, key)
        return presign_put(endpoint, path, self._signing_key(), signed_at, ttl_seconds, headers)

    def internal_url(self, key: str) -> str:
        """A presigned GET on the internal endpoint, for immediate use by this process."""
        signed_at = self._now().replace(microsecond=0)
        endpoint, path = self._place(self._internal_endpoint, key)
        return presign_get(endpoint, path, self._signing_key(), signed_at, _INTERNAL_URL_SECONDS)

    def _place(self, endpoint: str, key: str) -> tuple[str, str]:
        return place_of(endpoint, self._bucket, key, style_of(self._settings.s3_addressing, endpoint))

    def _now(self) -> datetime:
        return (self._clock.now() if self._clock else datetime.now(UTC)).astimezone(UTC)

    @property
    def _public_endpoint(self) -> str:
        return (self._settings.s3_public_endpoint_url or self._internal_endpoint).rstrip("/")

    @property
    def _internal_endpoint(self) -> str:
        return str(self._settings.s3_endpoint_url or self._client.meta.endpoint_url).rstrip("/")

    def _signing_key(self) -> SigningKey:
        settings = self._settings
        if settings.s3_access_key_id and settings.s3_secret_access_key:
            secret = settings.s3_secret_access_key.get_secret_value()
            return SigningKey(settings.s3_access_key_id, secret, settings.s3_region)
        # boto3's chain (environment, files, instance role); read each time, as temporary credentials are renewed.
        with self._translated_errors("reading the S3 credentials", of_server=False):
            credentials = self._session.get_credentials()
            frozen = credentials and credentials.get_frozen_credentials()
        if frozen is None:
            raise StorageMisconfigured(
                "no S3 credentials", fix="Set LONGTAKE_S3_ACCESS_KEY_ID and LONGTAKE_S3_SECRET_ACCESS_KEY."
            )
        return SigningKey(frozen.access_key, frozen.secret_key, settings.s3_region, frozen.token)

    @contextmanager
    def _translated_errors(
        self, doing: str, ignore: frozenset[str] = frozenset(), *, of_server: bool = True
    ) -> Generator[None]:
        """Turn errors of boto into StorageErrors; S3 error codes in `ignore` count as success."""
        breaker = self._breaker if of_server else None
        if breaker is not None and not breaker.allows_call():
            raise StorageUnavailable(f"{doing}: it did not answer a moment ago")
        try:
            if breaker is not None and self._settings.s3_endpoint_url:
                endpoint = urlsplit(self._settings.s3_endpoint_url)
                check_name(endpoint.hostname, endpoint.port, self._timeouts.connect_seconds)
            yield
        except failures_of_boto() as error:
            if _has_code(error, ignore):
                return
            named = storage_error(doing, error)
            if breaker is not None:
                (breaker.record_failure if isinstance(named, StorageUnavailable) else breaker.record_success)()
            raise named from error
        if breaker is not None:
            breaker.record_success()


def _has_code(error: Exception, codes: frozenset[str]) -> bool:
    from botocore.exceptions import ClientError

    return isinstance(error, ClientError) and code_of(error) in codes


def _raise_first(errors: Sequence[Mapping[str, str]], operation: str) -> None:
    """Raise the first failure in the answer to a batch, whose status is a success."""
    from botocore.exceptions import ClientError

    if errors:
        raise ClientError(
            {"Error": {"Code": errors[0].get("Code", ""), "Message": errors[0].get("Message", "")}}, operation
        )
