"""The OpenAPI document is complete, consistent in itself and true."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast, get_args

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel

from api.http.examples import (
    CHANGE_EXAMPLES,
    EXAMPLES,
    KEY_CHANGE_EXAMPLES,
    KEY_EXAMPLES,
    ROTATION_EXAMPLES,
    UPLOAD_EXAMPLES,
)
from api.http.openapi_webhooks import PingBody, WebhookBody
from api.openai import documents
from core.service.admission.request_body import parse_body, parse_change, parse_request
from core.service.domain.key_schema import KeyChange, KeyRequest, KeyRotation
from core.service.domain.schema import PING, EventType, JobError, JobRequest, WarningCode, WebhookEvent
from core.service.domain.webhooks import payload, ping_payload
from core.service.media.uploads import UploadRequest, new_upload
from core.service.settings import Settings
from core.service.testing.clock import FAKE_START
from tests.helpers.api_world import World, submit


@pytest.fixture
def document(api: TestClient) -> dict[str, Any]:
    return cast(dict[str, Any], api.get("/openapi.json").json())


def refs_in(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in cast(dict[str, object], node).items():
            if name == "$ref":
                yield str(value)
            else:
                yield from refs_in(value)
    elif isinstance(node, list):
        for value in cast(list[object], node):
            yield from refs_in(value)


def test_the_document_is_completed_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    completed = list[object]()
    monkeypatch.setattr(documents, "complete", completed.append)
    with world.client() as api:
        first, second = (api.get("/openapi.json").text for _ in range(2))
    assert (first, len(completed)) == (second, 1)


def test_every_endpoint_is_there(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    operations = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert operations == {
        "POST /jobs",
        "GET /jobs/{job_id}/metrics",
        "POST /jobs/{job_id}/metrics",
        "POST /jobs/batch",
        "GET /jobs/{job_id}/webhook-deliveries",
        "POST /jobs/{job_id}/webhook-deliveries/{delivery_id}/redeliver",
        "POST /webhooks/ping",
        "GET /webhooks/pings/{ping_id}",
        "PUT /jobs/{job_id}",
        "GET /jobs",
        "GET /jobs/{job_id}",
        "PATCH /jobs/{job_id}",
        "DELETE /jobs/{job_id}",
        "GET /jobs/{job_id}/chunks",
        "GET /events",
        "GET /jobs/{job_id}/playlist.m3u8",
        "GET /jobs/{job_id}/chunks/{index}.mp4",
        "GET /jobs/{job_id}/video.mp4",
        "GET /jobs/{job_id}/video",
        "GET /jobs/{job_id}/thumbnail.jpg",
        "GET /jobs/{job_id}/events",
        "POST /jobs/{job_id}/cancel",
        "POST /jobs/{job_id}/extend",
        "POST /jobs/{job_id}/retry",
        "POST /jobs/{job_id}/branch",
        "POST /jobs/{job_id}/revoke-links",
        "POST /uploads",
        "GET /uploads/{upload_id}",
        "DELETE /uploads/{upload_id}",
        "GET /models",
        "POST /keys",
        "GET /keys",
        "GET /keys/{key_id}",
        "PATCH /keys/{key_id}",
        "DELETE /keys/{key_id}",
        "POST /keys/{key_id}/rotate",
        "POST /keys/{key_id}/rotate-webhook-secret",
        "GET /key",
        "POST /v1/videos",
        "GET /v1/videos",
        "GET /v1/videos/{job_id}",
        "DELETE /v1/videos/{job_id}",
        "GET /v1/videos/{job_id}/content",
        "POST /v1/videos/{job_id}/remix",
        "GET /v1/models",
        "GET /v1/models/{model}",
        "GET /healthz",
        "GET /readyz",
        "GET /status",
    }


def test_names_of_operations_are_short_and_unique(document: dict[str, Any]) -> None:
    kinds = (document["paths"], document["webhooks"])
    names = [each["operationId"] for paths in kinds for methods in paths.values() for each in methods.values()]
    assert len({*names}) == len(names)
    assert {"submit", "read_job", "openai_create_video"} <= {*names}


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    targets = {f"#/components/{kind}/{name}" for kind, named in document["components"].items() for name in named}
    assert set(refs_in(document)) <= targets
    assert "#/components/schemas/JobRequest" in refs_in(document)


def test_the_request_body_is_the_schema_that_admission_reads(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["JobRequest"]
    assert set(schema["properties"]) == set(JobRequest.model_fields)
    assert schema["additionalProperties"] is False


def test_bounds_of_seeds_forms_of_rates_and_codes_of_warnings_are_said(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    asked, answered = schemas["JobRequest"]["properties"], schemas["JobSpec"]["properties"]
    assert asked["seed"]["anyOf"][0] == {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}
    assert "maximum" not in answered["seed"], "jobs of older versions may have larger ones"
    assert [form["type"] for form in asked["fps"]["anyOf"]] == ["number", "string", "null"]
    assert [form["type"] for form in answered["fps"]["anyOf"]] == ["integer", "string"]
    assert all(code in schemas["JobWarning"]["properties"]["code"]["description"] for code in WarningCode)
    assert "warnings" in schemas["Job"]["properties"]


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_examples_are_valid_requests(name: str) -> None:
    request = parse_request(EXAMPLES[name]["value"])
    assert request.prompt or request.prompts


@pytest.mark.parametrize("name", sorted(CHANGE_EXAMPLES))
def test_the_examples_are_valid_changes(name: str) -> None:
    change = parse_change(CHANGE_EXAMPLES[name]["value"])
    assert change.prompt or change.changes_length


@pytest.mark.parametrize("name", sorted(UPLOAD_EXAMPLES))
def test_the_examples_are_valid_uploads(name: str) -> None:
    request = parse_body(UPLOAD_EXAMPLES[name]["value"], UploadRequest)
    assert new_upload(request, Settings(), FAKE_START).kinds == {name}


def test_the_examples_are_shown_as_they_are_null_included(document: dict[str, Any]) -> None:
    def shown(path: str, method: str) -> dict[str, Any]:
        return cast(dict[str, Any], document["paths"][path][method]["requestBody"]["content"]["application/json"])

    assert shown("/jobs", "post")["examples"] == EXAMPLES
    assert shown("/jobs/{job_id}", "patch")["examples"] == CHANGE_EXAMPLES
    assert shown("/keys/{key_id}", "patch")["examples"] == KEY_CHANGE_EXAMPLES


def test_videos_and_pictures_are_bytes_in_the_document(document: dict[str, Any]) -> None:
    for path in ("chunks/{index}.mp4", "video.mp4", "video", "thumbnail.jpg"):
        responses = document["paths"][f"/jobs/{{job_id}}/{path}"]["get"]["responses"]
        schemas = [kind["schema"] for status in ("200", "206") for kind in responses[status]["content"].values()]
        assert schemas == [{"type": "string", "format": "binary"}] * 2, path


@pytest.mark.parametrize(
    ("model", "examples"),
    [(KeyRequest, KEY_EXAMPLES), (KeyChange, KEY_CHANGE_EXAMPLES), (KeyRotation, ROTATION_EXAMPLES)],
)
def test_the_examples_are_valid_requests_about_keys(model: type[BaseModel], examples: dict[str, Any]) -> None:
    assert [parse_body(each["value"], model) for each in examples.values()]


def test_what_needs_a_key_says_so(document: dict[str, Any]) -> None:
    paths = document["paths"]
    assert set(document["components"]["securitySchemes"]) == {"key", "link"}
    assert paths["/jobs"]["get"]["security"] == [{"key": []}]
    assert paths["/jobs/{job_id}/video.mp4"]["get"]["security"] == [{"key": []}, {"link": []}]
    assert "security" not in paths["/healthz"]["get"]
    assert {"401", "403"} <= paths["/jobs"]["post"]["responses"].keys()
    assert "403" not in paths["/models"]["get"]["responses"], "every key may read"
    assert "403" in paths["/jobs"]["get"]["responses"], "but not lists of other owners"


def test_whatever_needs_a_key_may_find_its_limit_reached(document: dict[str, Any]) -> None:
    keyed = [each for methods in document["paths"].values() for each in methods.values() if "security" in each]
    assert [each["operationId"] for each in keyed if "429" not in each["responses"]] == []
    assert {"Retry-After", "RateLimit", "RateLimit-Policy"} <= keyed[0]["responses"]["429"]["headers"].keys()


def test_every_operation_can_be_refused_in_one_form_only(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            failures = {code: r for code, r in operation["responses"].items() if code >= "400" and path != "/readyz"}
            types = {kind for response in failures.values() for kind in response["content"]}
            form = "application/json" if path.startswith("/v1/") else "application/problem+json"
            assert types <= {form}, (method, path)
            assert not path.startswith("/v1/") or "422" not in failures, (method, path)


def test_webhooks_are_described(document: dict[str, Any]) -> None:
    assert set(document["webhooks"]) == {*get_args(WebhookEvent), PING}
    for event in ("job.failed", PING):
        parameters = document["webhooks"][event]["post"]["parameters"]
        assert {p["name"] for p in parameters} == {"webhook-id", "webhook-timestamp", "webhook-signature"}


def test_webhooks_are_sent_as_described(api: TestClient, world: World) -> None:
    job_id = submit(api)
    world.make_chunk(job_id)
    record = world.store.get(job_id)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    chunk = WebhookBody.model_validate_json(payload(EventType.CHUNK_COMPLETED, record, at))
    assert chunk.data.chunk == {"index": 0, "first_frame": 0, "num_frames": 16}
    assert PingBody.model_validate_json(ping_payload("ping_a", at)).data.id == "ping_a"
    failed = world.store.fail(job_id, JobError(code="out_of_memory", message="no room", retryable=False))
    body = WebhookBody.model_validate_json(payload(EventType.JOB_FAILED, failed, at))
    assert (body.type, body.data.error) == ("job.failed", failed.error)


def test_the_documentation_page_is_served(api: TestClient) -> None:
    assert "openapi.json" in api.get("/docs").text
