"""The object storage port over any S3 server: AWS, R2, Ceph, SeaweedFS, or the embedded rclone one.

Two addresses: workers and API talk to the internal endpoint; URLs for clients are signed for the public one, since the
host is part of a signature. Knows no job and no video: keys and bytes only.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.service.errors import ObjectNotFound, StorageError
from core.service.ports import Clock, StoredObject
from core.service.presign import MAX_EXPIRES_SECONDS, SigningKey, presign_get, presign_put
from core.service.settings import Settings

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# Some S3 servers (rclone among them) answer a byte range with status 200. A browser that may store such an answer takes
# it for the whole object from then on: after playing chunk 0's head, the chunk itself would come out of its cache cut.
_CACHE_CONTROL = "no-store"
_NOT_FOUND_CODES = frozenset({"404", "NoSuchKey", "NotFound"})
_BUCKET_EXISTS_CODES = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})
_DELETE_BATCH = 1000  # the most that DeleteObjects takes
_PIECE_BYTES = 1 << 20


class S3Storage:
    """ports.Storage in settings.s3_bucket. One object serves all threads of a process."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        """`clock` decides in which time bucket URLs are signed; without one it is the system's."""
        self._settings = settings
        self._bucket = settings.s3_bucket
        self._clock = clock

    # boto3 has no types of its own, hence Any. It is imported on first use, so that a process that only signs URLs does
    # not wait for it; a session of our own, since boto3's default one is not safe to make clients in several threads.
    @cached_property
    def _session(self) -> Any:
        import boto3.session

        return boto3.session.Session(region_name=self._settings.s3_region)

    @cached_property
    def _client(self) -> Any:
        from botocore.config import Config

        settings = self._settings
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",  # servers other than AWS refuse the newer default
            response_checksum_validation="when_required",
            retries={"mode": "standard", "total_max_attempts": 4},
            connect_timeout=10,
            read_timeout=60,
        )
        secret = settings.s3_secret_access_key
        return self._session.client(
            "s3",
            endpoint_url=settings.s3_endpoint_url,
            aws_access_key_id=settings.s3_access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            config=config,
        )

    def ensure_bucket(self) -> None:
        """Create the bucket where it does not exist. Idempotent, also for several processes at once."""
        try:
            self.check()
        except ObjectNotFound:
            region = self._settings.s3_region
            # AWS refuses its first region's name here, and demands every other's.
            where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            with _named_errors(f"creating bucket {self._bucket}", ignore=_BUCKET_EXISTS_CODES):
                self._client.create_bucket(Bucket=self._bucket, **where)

    def check(self) -> None:
        """Raise StorageError where the bucket cannot be reached (ObjectNotFound where it does not exist)."""
        with _named_errors(f"reaching bucket {self._bucket}"):
            self._client.head_bucket(Bucket=self._bucket)

    def put(self, key: str, data: bytes, content_type: str) -> None:
        with _named_errors(f"storing {key}"):
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=data, ContentType=content_type, CacheControl=_CACHE_CONTROL
            )

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Store a file of any size, in parts where it is large."""
        extra = {"ContentType": content_type, "CacheControl": _CACHE_CONTROL}
        with _named_errors(f"storing {key}"):
            self._client.upload_file(str(path), self._bucket, key, ExtraArgs=extra)

    def get(self, key: str) -> bytes:
        with _named_errors(f"reading {key}"):
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()

    def pieces(self, key: str) -> Iterator[bytes]:
        with _named_errors(f"reading {key}"):
            yield from self._client.get_object(Bucket=self._bucket, Key=key)["Body"].iter_chunks(_PIECE_BYTES)

    def look_up(self, key: str) -> StoredObject:
        with _named_errors(f"looking up {key}"):
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
        with _named_errors(f"listing {prefix}"):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for entry in page.get("Contents", ()):
                    yield entry["Key"]

    def delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _DELETE_BATCH):
            objects = [{"Key": key} for key in keys[start : start + _DELETE_BATCH]]
            with _named_errors("deleting objects"):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
            if answer.get("Errors"):
                raise StorageError(f"deleting objects: {answer['Errors'][0].get('Message', 'refused')}")

    def delete_prefix(self, prefix: str) -> int:
        """Delete all objects under a prefix; returns how many. Listed first: a page may shift under a delete."""
        keys = [*self.list(prefix)]
        self.delete(keys)
        return len(keys)

    def url(self, key: str, *, download_name: str | None = None) -> str:
        """A presigned GET, good for url_ttl_seconds to twice that; the same text in every process until the bucket of
        time turns. With temporary credentials it ends with them, if that is sooner."""
        least = self._settings.url_ttl_seconds
        period = max(1, min(least, MAX_EXPIRES_SECONDS - least))
        now = self._clock.now() if self._clock else datetime.now(UTC)
        seconds = int(now.timestamp())
        signed_at = datetime.fromtimestamp(seconds - seconds % period, UTC)
        query = {"response-content-disposition": f'attachment; filename="{download_name}"'} if download_name else {}
        expires = min(period + least, MAX_EXPIRES_SECONDS)
        path = f"/{self._bucket}/{key}"
        return presign_get(self._public_endpoint, path, self._signing_key(), signed_at, expires, query)

    def upload_url(self, key: str, headers: Mapping[str, str], ttl_seconds: int) -> str:
        now = self._clock.now() if self._clock else datetime.now(UTC)
        signed_at = now.astimezone(UTC).replace(microsecond=0)
        path = f"/{self._bucket}/{key}"
        return presign_put(self._public_endpoint, path, self._signing_key(), signed_at, ttl_seconds, headers)

    @property
    def _public_endpoint(self) -> str:
        settings = self._settings
        endpoint = settings.s3_public_endpoint_url or settings.s3_endpoint_url or self._client.meta.endpoint_url
        return str(endpoint).rstrip("/")

    def _signing_key(self) -> SigningKey:
        settings = self._settings
        if settings.s3_access_key_id and settings.s3_secret_access_key:
            secret = settings.s3_secret_access_key.get_secret_value()
            return SigningKey(settings.s3_access_key_id, secret, settings.s3_region)
        # boto3's chain (environment, files, instance role); asked each time, as temporary ones are renewed.
        credentials = self._session.get_credentials()
        if credentials is None:
            raise StorageError(
                "no S3 credentials", fix="Set LONGTAKE_S3_ACCESS_KEY_ID and LONGTAKE_S3_SECRET_ACCESS_KEY."
            )
        frozen = credentials.get_frozen_credentials()
        return SigningKey(frozen.access_key, frozen.secret_key, settings.s3_region, frozen.token)


@contextmanager
def _named_errors(doing: str, ignore: frozenset[str] = frozenset()) -> Generator[None]:
    """Turn boto's errors into ours; S3 codes in `ignore` count as done."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        if _code(error) not in ignore:
            kind = ObjectNotFound if _code(error) in _NOT_FOUND_CODES else StorageError
            raise kind(f"{doing}: {error}") from error
    except (BotoCoreError, Boto3Error) as error:
        raise StorageError(f"{doing}: {error}") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
