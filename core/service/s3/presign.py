"""Presigned GET and PUT URLs for S3 (AWS Signature Version 4 in the query string). Makes no request.

Not botocore's presigner: it signs with the current second, so the text changes with every call, and takes about 0.4 ms
per URL, 600 times per poll of a job of 600 chunks.
Source: AWS Signature Version 4, "Authenticating Requests: Using Query Parameters" (the test has AWS's example).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import SplitResult, quote, urlsplit

MAX_EXPIRES_SECONDS = 604800
"""Seven days, the maximum of the protocol."""
_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class SigningKey:
    """Credentials and region of a signature. `session_token` is for temporary credentials only."""

    access_key_id: str
    secret_access_key: str
    region: str
    session_token: str | None = None


def presign_get(
    endpoint: str,
    path: str,
    key: SigningKey,
    signed_at: datetime,
    expires_seconds: int,
    query: Mapping[str, str] | None = None,
) -> str:
    """GET URL of `path` (starts with /, not percent-encoded) at `endpoint`, valid from `signed_at` (UTC) for
    `expires_seconds`. `query` holds further signed parameters, such as response-content-disposition.
    """
    return _presign("GET", endpoint, path, key, signed_at, expires_seconds, query or {}, {})


def presign_put(
    endpoint: str,
    path: str,
    key: SigningKey,
    signed_at: datetime,
    expires_seconds: int,
    headers: Mapping[str, str],
) -> str:
    """PUT URL, else as `presign_get`. `headers` (lower-case names) are signed: the server refuses other values, so
    content-type and content-length bind what may be stored."""
    return _presign("PUT", endpoint, path, key, signed_at, expires_seconds, {}, headers)


def _presign(
    method: str,
    endpoint: str,
    path: str,
    key: SigningKey,
    signed_at: datetime,
    expires_seconds: int,
    query: Mapping[str, str],
    headers: Mapping[str, str],
) -> str:
    assert 0 < expires_seconds <= MAX_EXPIRES_SECONDS, expires_seconds
    parts = urlsplit(endpoint)
    host = _without_default_port(parts)
    path = parts.path.rstrip("/") + quote(path, safe="/-_.~")
    timestamp = signed_at.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{timestamp[:8]}/{key.region}/s3/aws4_request"
    signed = {**headers, "host": host}
    names = ";".join(sorted(signed))
    canonical_query = _canonical_query({**query, **_auth_query(key, scope, timestamp, expires_seconds, names)})
    canonical_headers = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    canonical_request = f"{method}\n{path}\n{canonical_query}\n{canonical_headers}\n{names}\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    signature = _hmac(_derived_key(key, timestamp[:8]), f"{_ALGORITHM}\n{timestamp}\n{scope}\n{digest}").hex()
    return f"{parts.scheme}://{host}{path}?{canonical_query}&X-Amz-Signature={signature}"


def _without_default_port(endpoint: SplitResult) -> str:
    """The Host header as clients send it: without the scheme's default port."""
    default = {"http": ":80", "https": ":443"}[endpoint.scheme]
    return endpoint.netloc.removesuffix(default)


def _auth_query(
    key: SigningKey, scope: str, timestamp: str, expires_seconds: int, signed_headers: str
) -> dict[str, str]:
    token = {"X-Amz-Security-Token": key.session_token} if key.session_token else {}
    return token | {
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{key.access_key_id}/{scope}",
        "X-Amz-Date": timestamp,
        "X-Amz-Expires": str(expires_seconds),
        "X-Amz-SignedHeaders": signed_headers,
    }


def _canonical_query(parameters: Mapping[str, str]) -> str:
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in parameters.items())
    return "&".join(f"{name}={value}" for name, value in encoded)


def _derived_key(key: SigningKey, date: str) -> bytes:
    derived = f"AWS4{key.secret_access_key}".encode()
    for part in (date, key.region, "s3", "aws4_request"):
        derived = _hmac(derived, part)
    return derived


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
