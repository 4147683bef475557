"""Links never change; the presigned URLs that they lead to open exactly one object for a while, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from core.service.domain.manifest import chunk_key
from core.service.s3.storage import S3Storage
from tests.helpers.service import Service, fetch


class LongAgo:
    """A clock three hours behind: what it signs has expired."""

    def now(self) -> datetime:
        return datetime.now(UTC) - timedelta(hours=3)


@pytest.fixture(scope="module")
def url(service: Service) -> str:
    """The presigned URL that a chunk's link leads to."""
    link = service.wait_for_success(service.submit(num_frames=32).id).chunks[0].url
    return httpx.get(link, trust_env=False, timeout=30).headers["location"]


def refused(url: str) -> bool:
    response = httpx.get(url, trust_env=False, timeout=30)
    return response.is_client_error and b"ftyp" not in response.content


def test_url_opens_its_chunk(url: str) -> None:
    assert fetch(url)[4:8] == b"ftyp"


def test_url_with_a_changed_signature_is_refused(url: str) -> None:
    assert refused(url[:-1] + ("0" if url[-1] != "0" else "1"))


def test_url_s_signature_opens_no_other_object(url: str) -> None:
    assert refused(url.replace("/chunks/00000.mp4", "/chunks/00001.mp4"))


def test_url_s_life_cannot_be_stretched(url: str) -> None:
    query = httpx.URL(url).params
    assert refused(str(httpx.URL(url, params=query.set("X-Amz-Expires", "604800"))))


def test_url_without_a_signature_is_refused(url: str) -> None:
    assert refused(url.partition("?")[0])


def test_expired_url_is_refused(service: Service) -> None:
    job = service.wait_for_success(service.submit(num_frames=16).id)
    assert refused(S3Storage(service.settings, LongAgo()).url(chunk_key(job.id, 0)))


def test_url_stays_the_same_from_poll_to_poll(service: Service) -> None:
    job = service.wait_for_success(service.submit(num_frames=16).id)
    assert service.job(job.id).chunks == job.chunks


def test_any_web_page_may_fetch_a_chunk_by_range(url: str) -> None:
    response = httpx.get(
        url, headers={"Origin": "https://player.example", "Range": "bytes=0-7"}, trust_env=False, timeout=30
    )
    # rclone says 200 where RFC 9110 wants 206; players read the range's own header.
    assert response.is_success
    assert response.headers["content-range"].startswith("bytes 0-7/")
    assert len(response.content) == 8
    assert response.headers["access-control-allow-origin"] == "*"
