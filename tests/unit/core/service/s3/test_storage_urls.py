"""S3Storage.url without any server: stability, life time, addresses, credentials."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from core.service.domain.s3_addressing import style_of
from core.service.s3.storage import S3Storage
from core.service.settings import Settings

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = "jobs/job_a/chunks/00000.mp4"


@dataclass
class ClockAt:
    time: datetime = NOON

    def now(self) -> datetime:
        return self.time


def settings(url_ttl_seconds: int = 3600, public_url: str | None = None) -> Settings:
    return Settings(
        s3_endpoint_url="http://s3.internal:9000",
        s3_public_endpoint_url=public_url,
        s3_access_key_id="id",
        s3_secret_access_key=SecretStr("secret"),
        url_ttl_seconds=url_ttl_seconds,
    )


def last_valid_second(url: str) -> datetime:
    query = parse_qs(urlsplit(url).query)
    signed_at = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return signed_at + timedelta(seconds=int(query["X-Amz-Expires"][0]))


def test_replicas_give_the_same_url_within_a_period() -> None:
    first = S3Storage(settings(), ClockAt(NOON)).url(KEY)
    second = S3Storage(settings(), ClockAt(NOON + timedelta(seconds=3599))).url(KEY)

    assert first == second
    assert S3Storage(settings(), ClockAt(NOON + timedelta(seconds=3600))).url(KEY) != first


@pytest.mark.parametrize("ttl", [60, 3600, 86400, 400_000, 604_799, 604_800])
@pytest.mark.parametrize("later", [0, 1, 59, 1799, 3599, 86_399])
def test_a_url_lives_at_least_as_long_as_the_setting_says(ttl: int, later: int) -> None:
    now = NOON + timedelta(seconds=later)

    assert last_valid_second(S3Storage(settings(ttl), ClockAt(now)).url(KEY)) >= now + timedelta(seconds=ttl)


def test_urls_are_for_the_public_address() -> None:
    url = S3Storage(settings(public_url="https://video.example.org/"), ClockAt()).url(KEY)

    assert url.startswith(f"https://video.example.org/longtake/{KEY}?")


def test_urls_are_for_the_internal_address_where_there_is_no_other() -> None:
    assert S3Storage(settings(), ClockAt()).url(KEY).startswith(f"http://s3.internal:9000/longtake/{KEY}?")


@pytest.mark.parametrize("endpoint", ["https://s3.example.com", "https://s3.example.com:8443"])
@pytest.mark.parametrize("style", ["path", "virtual"])
def test_providers_that_take_only_one_style_of_address_get_it_as_boto_writes_it(
    endpoint: str, style: Literal["path", "virtual"]
) -> None:
    chosen = settings().model_copy(update={"s3_endpoint_url": endpoint, "s3_addressing": style})
    storage = S3Storage(chosen, ClockAt())
    client: Any = storage._client  # pyright: ignore[reportPrivateUsage] - the client that puts the objects
    asked = urlsplit(client.generate_presigned_url("get_object", Params={"Bucket": "longtake", "Key": KEY}))
    for url in (storage.url(KEY), storage.internal_url(KEY), storage.upload_url(KEY, {}, 60)):
        assert urlsplit(url)[:3] == asked[:3]
    assert ("longtake." in asked.netloc) == (style == "virtual")


@pytest.mark.parametrize(
    ("endpoint", "style"),
    [
        ("http://127.0.0.1:9000", "path"),
        ("http://[::1]:9000", "path"),
        ("http://minio:9000", "path"),
        ("https://oss-cn-hangzhou.aliyuncs.com", "virtual"),
        (None, "virtual"),
    ],
)
def test_addresses_and_short_names_have_no_hosts_below_them(endpoint: str | None, style: str) -> None:
    assert style_of("auto", endpoint) == style


def test_a_download_name_is_part_of_the_url() -> None:
    url = S3Storage(settings(), ClockAt()).url(KEY, download_name="job_a.mp4")

    assert parse_qs(urlsplit(url).query)["response-content-disposition"] == ['attachment; filename="job_a.mp4"']


def test_signing_needs_no_boto3() -> None:
    """The API renders hundreds of URLs per answer and must be ready fast: neither may wait for boto3."""
    code = "import sys, core.service.s3.storage; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
