"""S3Storage against the real S3 server of the embedded stack: objects, presigned URLs and what a browser needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from cli.processes.embedded import EmbeddedS3
from cli.processes.machine import free_port
from core.service.domain.errors import ObjectNotFound, StorageError
from core.service.domain.ports import StoredObject
from core.service.s3.storage import S3Storage
from core.service.settings import Settings

CHUNK = bytes(range(256)) * 40
CHUNK_KEY = "jobs/job_a/chunks/00000.mp4"


@dataclass
class ClockAt:
    time: datetime

    def now(self) -> datetime:
        return self.time


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    with EmbeddedS3(tmp_path_factory.mktemp("s3")) as server:
        yield server


def settings_for(server: EmbeddedS3, bucket: str = "longtake", secret: str | None = None) -> Settings:
    return Settings(
        s3_endpoint_url=server.endpoint_url,
        s3_access_key_id=server.access_key_id,
        s3_secret_access_key=SecretStr(secret or server.secret_access_key),
        s3_bucket=bucket,
    )


@pytest.fixture(scope="module")
def storage(server: EmbeddedS3) -> S3Storage:
    storage = S3Storage(settings_for(server))
    storage.ensure_bucket()
    storage.put(CHUNK_KEY, CHUNK, "video/mp4")
    return storage


def test_ensuring_the_bucket_twice_keeps_its_objects(storage: S3Storage) -> None:
    storage.ensure_bucket()

    assert storage.get(CHUNK_KEY) == CHUNK


def test_a_missing_bucket_is_said_by_check(server: EmbeddedS3) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        S3Storage(settings_for(server, bucket="nowhere")).check()


def test_an_object_comes_back_as_it_was_put(storage: S3Storage) -> None:
    storage.put("jobs/job_a/state/generate/00000.safetensors", b"\x00\xff" * 500, "application/octet-stream")

    assert storage.get("jobs/job_a/state/generate/00000.safetensors") == b"\x00\xff" * 500


def test_a_copy_is_an_object_of_its_own(storage: S3Storage) -> None:
    storage.put("jobs/job_a/chunks/00001.mp4", CHUNK, "video/mp4")
    storage.copy("jobs/job_a/chunks/00001.mp4", "jobs/job_b/chunks/00001.mp4")
    storage.delete(["jobs/job_a/chunks/00001.mp4"])

    assert storage.get("jobs/job_b/chunks/00001.mp4") == CHUNK
    assert storage.look_up("jobs/job_b/chunks/00001.mp4").content_type == "video/mp4"
    with pytest.raises(ObjectNotFound):
        storage.copy("jobs/job_a/chunks/00001.mp4", "jobs/job_b/chunks/00002.mp4")


def test_a_second_put_replaces_the_first_at_once(storage: S3Storage) -> None:
    for version in (b"one", b"two, longer", b"3"):
        storage.put("jobs/job_a/manifest.json", version, "application/json")

        assert storage.get("jobs/job_a/manifest.json") == version


def test_a_file_of_several_parts_comes_back_as_it_was(storage: S3Storage, tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    video.write_bytes(CHUNK * 2000)

    storage.put_file("jobs/job_big/video.mp4", video, "video/mp4")

    assert video.stat().st_size > 16 * 2**20, "larger than two parts"
    assert storage.get("jobs/job_big/video.mp4") == video.read_bytes()


def test_a_missing_object_has_its_own_error(storage: S3Storage) -> None:
    with pytest.raises(ObjectNotFound, match="jobs/none"):
        storage.get("jobs/none")


def test_exists_says_whether_an_object_is_there(storage: S3Storage) -> None:
    assert storage.exists(CHUNK_KEY)
    assert not storage.exists("jobs/job_a/chunks/99999.mp4")


def test_only_keys_under_the_prefix_are_listed(storage: S3Storage) -> None:
    for key in ("jobs/job_l/chunks/00001.mp4", "jobs/job_l/chunks/00000.mp4", "jobs/job_l2/chunks/00000.mp4"):
        storage.put(key, b"x", "video/mp4")

    assert list(storage.list("jobs/job_l/")) == ["jobs/job_l/chunks/00000.mp4", "jobs/job_l/chunks/00001.mp4"]


def test_deleting_a_prefix_leaves_its_neighbours(storage: S3Storage) -> None:
    for key in ("jobs/job_d/a", "jobs/job_d/b/c", "jobs/job_d2/a"):
        storage.put(key, b"x", "text/plain")

    assert storage.delete_prefix("jobs/job_d/") == 2
    assert list(storage.list("jobs/job_d")) == ["jobs/job_d2/a"]
    assert storage.delete_prefix("jobs/job_d/") == 0


def test_an_unreachable_server_is_a_storage_error(server: EmbeddedS3) -> None:
    nowhere = settings_for(server).model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{free_port()}"})

    with pytest.raises(StorageError, match="reaching bucket longtake"):
        S3Storage(nowhere).check()


def test_a_wrong_secret_is_a_storage_error(server: EmbeddedS3) -> None:
    with pytest.raises(StorageError, match="storing jobs/x"):
        S3Storage(settings_for(server, secret="wrong")).put("jobs/x", b"x", "text/plain")


def test_a_presigned_url_gives_the_object_with_its_type(storage: S3Storage) -> None:
    answer = httpx.get(storage.url(CHUNK_KEY))

    assert (answer.status_code, answer.content) == (200, CHUNK)
    assert answer.headers["content-type"] == "video/mp4"


def test_a_url_with_a_download_name_is_saved_under_it(storage: S3Storage) -> None:
    answer = httpx.get(storage.url(CHUNK_KEY, download_name="job_a.mp4"))

    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="job_a.mp4"'


def test_a_tampered_signature_is_refused(storage: S3Storage) -> None:
    url = storage.url(CHUNK_KEY)

    assert httpx.get(url[:-1] + ("0" if url[-1] != "0" else "1")).status_code == 403


def test_a_signature_opens_no_other_object(storage: S3Storage) -> None:
    storage.put("jobs/job_a/chunks/00001.mp4", b"secret", "video/mp4")

    assert httpx.get(storage.url(CHUNK_KEY).replace("00000.mp4", "00001.mp4")).status_code == 403


@pytest.mark.usefixtures("storage")
def test_an_expired_url_is_refused(server: EmbeddedS3) -> None:
    settings, now = settings_for(server), datetime.now(UTC)
    life = timedelta(seconds=2 * settings.url_ttl_seconds)
    still_valid = S3Storage(settings, ClockAt(now - life / 2)).url(CHUNK_KEY)
    expired = S3Storage(settings, ClockAt(now - life)).url(CHUNK_KEY)

    assert httpx.get(still_valid).status_code == 200
    assert httpx.get(expired).status_code in {400, 403}
    assert CHUNK not in httpx.get(expired).content


def test_without_a_signature_nothing_is_given(storage: S3Storage, server: EmbeddedS3) -> None:
    assert httpx.get(storage.url(CHUNK_KEY).split("?")[0]).status_code in {400, 401, 403}
    assert httpx.get(server.endpoint_url).status_code in {400, 401, 403}
    assert httpx.put(f"{server.endpoint_url}/longtake/jobs/x", content=b"x").status_code in {400, 401, 403}


def test_a_range_gives_its_bytes_only(storage: S3Storage) -> None:
    answer = httpx.get(storage.url(CHUNK_KEY), headers={"Range": "bytes=100-299"})

    assert answer.content == CHUNK[100:300]
    assert answer.headers["content-range"] == f"bytes 100-299/{len(CHUNK)}"


def test_a_range_that_is_not_called_partial_may_not_be_stored(storage: S3Storage) -> None:
    answer = httpx.get(storage.url(CHUNK_KEY), headers={"Range": "bytes=0-99"})

    assert answer.status_code == 206 or answer.headers["cache-control"] == "no-store"


def test_a_page_of_another_origin_may_read(storage: S3Storage) -> None:
    answer = httpx.get(storage.url(CHUNK_KEY), headers={"Origin": "https://player.example.org"})

    assert answer.headers["access-control-allow-origin"] == "*"


def test_an_object_comes_in_pieces_and_is_looked_up(storage: S3Storage) -> None:
    storage.put("uploads/pieces", CHUNK * 300, "video/webm")

    pieces = [*storage.pieces("uploads/pieces")]

    assert len(pieces) > 2
    assert b"".join(pieces) == CHUNK * 300
    assert storage.look_up("uploads/pieces") == StoredObject(len(CHUNK) * 300, "video/webm")
    with pytest.raises(ObjectNotFound):
        storage.look_up("uploads/none")
    with pytest.raises(ObjectNotFound):
        next(storage.pieces("uploads/none"))


def put(url: str, data: bytes, content_type: str, **more: str) -> int:
    return httpx.put(url, content=data, headers={"content-type": content_type, **more}).status_code


def test_an_upload_url_takes_the_declared_type_and_length_only(storage: S3Storage) -> None:
    url = storage.upload_url("uploads/a", {"content-type": "image/png", "content-length": "10"}, 60)

    assert put(url, bytes(11), "image/png") == 403
    assert put(url, bytes(9), "image/png") == 403
    assert put(url, bytes(10), "text/html") == 403
    assert put(url, bytes(10), "image/png", **{"x-amz-acl": "public-read"}) == 403
    assert httpx.put(url, content=iter([bytes(10)]), headers={"content-type": "image/png"}).status_code == 403
    assert not storage.exists("uploads/a")
    assert put(url, bytes(10), "image/png") == 200
    assert storage.look_up("uploads/a") == StoredObject(10, "image/png")


@pytest.mark.parametrize(
    "content_type", ["video/webm;codecs=vp8,opus", 'video/mp4; codecs="avc1.42E01E, mp4a.40.2"', "VIDEO/X-MATROSKA"]
)
def test_an_upload_url_takes_types_as_browsers_write_them(storage: S3Storage, content_type: str) -> None:
    url = storage.upload_url("uploads/b", {"content-type": content_type, "content-length": "10"}, 60)

    assert put(url, bytes(10), content_type.partition(";")[0] + ";x=y") == 403
    assert put(url, bytes(10), content_type) == 200
    assert storage.look_up("uploads/b") == StoredObject(10, content_type)


def test_an_upload_url_opens_nothing_else(storage: S3Storage) -> None:
    url = storage.upload_url("uploads/a", {"content-type": "image/png", "content-length": "10"}, 60)

    assert httpx.get(url).status_code == 403
    assert httpx.delete(url).status_code == 403
    assert put(url.replace("uploads/a", "jobs/job_a/manifest.json"), bytes(10), "image/png") == 403


@pytest.mark.usefixtures("storage")
def test_an_expired_upload_url_takes_nothing(server: EmbeddedS3) -> None:
    long_ago = S3Storage(settings_for(server), ClockAt(datetime.now(UTC) - timedelta(hours=1)))
    url = long_ago.upload_url("uploads/late", {"content-type": "image/png", "content-length": "10"}, 60)

    assert put(url, bytes(10), "image/png") in {400, 403}
