"""Libraries that others use, unchanged, against the running service: httpx-sse, standardwebhooks, boto3."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
import httpx
import pytest
from botocore.config import Config
from httpx_sse import ServerSentEvent, connect_sse
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.helpers.deadline import eventually
from tests.helpers.service import Service, fetch
from tests.helpers.webhook_receiver import WebhookReceiver


def events_of(service: Service, job_id: str, after: str | None = None) -> list[ServerSentEvent]:
    """All events of a job up to its end, read by httpx-sse."""
    headers = {} if after is None else {"Last-Event-ID": after}
    with connect_sse(service.http, "GET", f"/jobs/{job_id}/events", headers=headers) as source:
        return [*source.iter_sse()]


def test_httpx_sse_follows_a_job_live_and_resumes_after_the_last_event(service: Service) -> None:
    job = service.submit(model="slow", num_frames=32)
    events = [event for event in events_of(service, job.id) if event.event != "job.progress"]
    names = [event.event for event in events]
    assert names == ["job.queued", "job.started", "chunk.completed", "chunk.completed", "job.succeeded"]
    chunks = [event.json()["data"]["chunk"] for event in events if event.event == "chunk.completed"]
    assert [fetch(chunk["url"])[4:8] for chunk in chunks] == [b"ftyp"] * 2
    assert [event.id for event in events_of(service, job.id, after=events[2].id)] == [each.id for each in events[3:]]


def test_standardwebhooks_verifies_a_webhook_and_refuses_a_forged_one(
    service: Service, receiver: WebhookReceiver
) -> None:
    job = service.submit(num_frames=16, webhook_url=receiver.url)
    attempt = eventually(receiver.first, "the webhook")
    webhook = Webhook(service.webhook_secret)
    payload = webhook.verify(attempt.body, {**attempt.headers})
    assert (payload["type"], payload["data"]["id"]) == ("job.succeeded", job.id)
    with pytest.raises(WebhookVerificationError):
        webhook.verify(attempt.body.replace("succeeded", "failed"), {**attempt.headers})


def test_boto3_reads_the_object_behind_a_presigned_url(service: Service) -> None:
    job = service.wait_for_success(service.submit(num_frames=16).id)
    page = service.http.get(f"/jobs/{job.id}/chunks", params={"include": "presigned_urls"}).json()
    (chunk,) = page["chunks"]
    bucket, key = unquote(urlsplit(chunk["presigned_url"]).path).lstrip("/").split("/", 1)
    stored = s3_client(service).get_object(Bucket=bucket, Key=key)["Body"].read()
    assert stored == fetch(chunk["presigned_url"]) == fetch(chunk["url"])


def test_boto3_finds_an_upload_that_was_sent_to_its_url(service: Service) -> None:
    wanted = {"content_type": "image/png", "size_bytes": 4}
    upload = service.http.post("/uploads", json=wanted).json()
    with httpx.Client(trust_env=False, timeout=30) as storage:
        storage.put(upload["url"], content=b"\x89PNG", headers=upload["headers"]).raise_for_status()
    listed = s3_client(service).list_objects_v2(Bucket=service.settings.s3_bucket, Prefix="uploads/")["Contents"]
    assert [each["Size"] for each in listed if upload["id"] in each["Key"]] == [4]
    assert service.http.delete(f"/uploads/{upload['id']}").status_code == 204


def s3_client(service: Service) -> Any:
    """boto3's own client, as an operator would make it."""
    settings = service.settings
    assert settings.s3_secret_access_key is not None
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        aws_access_key_id=settings.s3_access_key_id,
        aws_secret_access_key=settings.s3_secret_access_key.get_secret_value(),
        region_name=settings.s3_region,
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )
