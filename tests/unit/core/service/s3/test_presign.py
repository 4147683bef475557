"""Presigned URLs against AWS's own worked example, and their text's form."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from core.service.s3.presign import MAX_EXPIRES_SECONDS, SigningKey, presign_get, presign_put

# The example of "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)".
EXAMPLE_KEY = SigningKey("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
EXAMPLE_TIME = datetime(2013, 5, 24, tzinfo=UTC)


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_the_example_of_the_aws_manual_gets_its_signature() -> None:
    url = presign_get("https://examplebucket.s3.amazonaws.com", "/test.txt", EXAMPLE_KEY, EXAMPLE_TIME, 86400)

    assert query_of(url)["X-Amz-Signature"] == "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    assert query_of(url)["X-Amz-Credential"] == "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"


def test_the_path_keeps_its_file_name() -> None:
    url = presign_get("http://127.0.0.1:9000", "/longtake/jobs/a b/00000.mp4", EXAMPLE_KEY, EXAMPLE_TIME, 60)

    assert urlsplit(url).path == "/longtake/jobs/a%20b/00000.mp4"


@pytest.mark.parametrize(
    ("endpoint", "start"),
    [
        ("https://s3.example.org:443/", "https://s3.example.org/b/k?"),
        ("http://s3.example.org:80", "http://s3.example.org/b/k?"),
        ("http://s3.example.org:443", "http://s3.example.org:443/b/k?"),
        ("https://example.org/s3", "https://example.org/s3/b/k?"),
    ],
)
def test_the_host_is_signed_as_clients_send_it(endpoint: str, start: str) -> None:
    assert presign_get(endpoint, "/b/k", EXAMPLE_KEY, EXAMPLE_TIME, 60).startswith(start)


def test_temporary_credentials_carry_their_token() -> None:
    key = SigningKey("id", "secret", "eu-central-1", session_token="a+b/c=")

    assert query_of(presign_get("https://s3", "/b/k", key, EXAMPLE_TIME, 60))["X-Amz-Security-Token"] == "a+b/c="


def test_parameters_of_the_operation_change_the_signature() -> None:
    plain = presign_get("https://s3", "/b/k", EXAMPLE_KEY, EXAMPLE_TIME, 60)
    named = presign_get("https://s3", "/b/k", EXAMPLE_KEY, EXAMPLE_TIME, 60, {"response-content-disposition": "x; y"})

    assert query_of(named)["response-content-disposition"] == "x; y"
    assert query_of(named)["X-Amz-Signature"] != query_of(plain)["X-Amz-Signature"]


def test_no_url_is_valid_for_more_than_a_week() -> None:
    with pytest.raises(AssertionError):
        presign_get("https://s3", "/b/k", EXAMPLE_KEY, EXAMPLE_TIME, MAX_EXPIRES_SECONDS + 1)


def test_a_url_to_store_an_object_signs_its_headers() -> None:
    headers = {"content-type": "image/png", "content-length": "10"}
    url = presign_put("https://s3", "/b/k", EXAMPLE_KEY, EXAMPLE_TIME, 60, headers)
    longer = presign_put("https://s3", "/b/k", EXAMPLE_KEY, EXAMPLE_TIME, 60, headers | {"content-length": "11"})

    assert query_of(url)["X-Amz-SignedHeaders"] == "content-length;content-type;host"
    assert query_of(url)["X-Amz-Signature"] != query_of(longer)["X-Amz-Signature"]
    assert "image" not in url
