"""Uploads files to a running service as a client would. Knows no worker."""

from __future__ import annotations

from typing import Any

import httpx

from tests.helpers.service import Service


def declare(service: Service, size_bytes: int, content_type: str = "video/mp4") -> dict[str, Any]:
    """The answer of POST /uploads."""
    response = service.http.post("/uploads", json={"content_type": content_type, "size_bytes": size_bytes})
    assert response.status_code == 201, response.text
    return dict(response.json())


def send(target: dict[str, Any], data: bytes, **other_headers: str) -> int:
    """PUT `data` where POST /uploads said; the storage's status code."""
    headers = {**target["headers"], **other_headers}
    headers.pop("content-length")  # httpx counts for itself
    return httpx.request(
        target["method"], target["url"], content=data, headers=headers, trust_env=False, timeout=30
    ).status_code


def upload(service: Service, data: bytes, content_type: str = "video/mp4") -> str:
    """The id of an upload of `data`."""
    target = declare(service, len(data), content_type)
    assert send(target, data) == 200
    return str(target["id"])
