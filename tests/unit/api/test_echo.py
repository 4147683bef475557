"""No refusal repeats more than 200 characters of what a client sent, in any field, header, path or query."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from core.service.domain.errors import MAX_ECHO
from core.service.domain.schema import JobChange, JobRequest
from tests.helpers.api_world import PROMPT, World, submit

LENGTHS = (MAX_ECHO + 1, 250, 1_500, 50_000)
TOO_LONG_FOR_ALL = LENGTHS[-1]
TOO_LONG_AN_ECHO = "x" * (MAX_ECHO + 1)
MOST_BYTES = 4000
"""Far more than any refusal needs, far less than what was sent."""
WRAPPED = ("{}", "http://{}.example/", "https://example.com/{}", "{}://example.com", "http://{}@example.com/", "upl_{}")


@pytest.fixture(params=LENGTHS)
def long(request: pytest.FixtureRequest) -> str:
    """A client's value that is too long to be repeated; the shorter ones may be what is asked for."""
    return "x" * int(request.param)


def checked(answer: Any, long: str) -> None:
    if answer.is_success and len(long) < TOO_LONG_FOR_ALL:
        return
    assert 400 <= answer.status_code < 500, answer.text[:300]
    assert TOO_LONG_AN_ECHO not in answer.text
    assert len(answer.content) < MOST_BYTES
    assert all(len(value) < MOST_BYTES for value in answer.headers.values())


def values(long: str) -> list[Any]:
    texts: list[Any] = [form.format(long) for form in WRAPPED]
    return [*texts, [long], {long: long}, {"strength": long, long: 1}, {"size": f"{long}x{long}"}, int("9" * 4000)]


@pytest.mark.parametrize("field", [*JobRequest.model_fields, "unknown", "{}"])
def test_no_field_of_a_job_is_repeated(api: TestClient, field: str, long: str) -> None:
    for value in values(long):
        body = {"prompt": PROMPT, "webhook_url": "https://example.com/", field.format(long): value}
        if field == "webhook_events":
            body.pop("prompt")
        checked(api.post("/jobs", json=body), long)


@pytest.mark.parametrize("field", [*JobChange.model_fields, "unknown", "{}"])
def test_no_field_of_a_change_is_repeated(api: TestClient, field: str, long: str) -> None:
    job_id = submit(api)
    for value in values(long):
        checked(api.patch(f"/jobs/{job_id}", json={"metadata": {}, field.format(long): value}), long)


@pytest.mark.parametrize(
    "entry", [{"start_frame": 0, "text": "{}"}, {"start_frame": "{}", "text": "a"}, {"{}": 1}, "{}"]
)
def test_nothing_of_a_schedule_is_repeated(api: TestClient, entry: Any, long: str) -> None:
    checked(api.post("/jobs", json={"prompts": [filled(entry, long)]}), long)


def filled(value: Any, long: str) -> Any:
    """`value` with every {} replaced."""
    return json.loads(json.dumps(value).replace("{}", long))


def test_no_request_of_a_batch_is_repeated(api: TestClient, long: str) -> None:
    sent = [*({"prompt": PROMPT, "seed": value} for value in values(long)), long, [long], {long: 1}]
    answer = api.post("/jobs/batch", json={"jobs": sent})
    assert (answer.status_code, TOO_LONG_AN_ECHO in answer.text) == (200, False)
    assert {each["status"] for each in answer.json()["results"]} <= {413, 422}
    checked(api.post("/jobs/batch", json={"jobs": long, long: long}), TOO_LONG_FOR_ALL * "x")


def test_a_repeated_key_is_not_repeated_once_more(api: TestClient, long: str) -> None:
    for path in ("/jobs", "/jobs/batch", "/uploads"):
        body = f'{{"{long}": 1, "{long}": 2}}'
        checked(api.post(path, content=body, headers={"Content-Type": "application/json"}), TOO_LONG_FOR_ALL * "x")


@pytest.mark.parametrize("field", ["content_type", "size_bytes", "unknown", "{}"])
def test_no_field_of_an_upload_is_repeated(api: TestClient, field: str, long: str) -> None:
    for value in values(long):
        checked(
            api.post("/uploads", json={"content_type": "video/mp4", "size_bytes": 10, field.format(long): value}), long
        )


@pytest.mark.parametrize(
    "header",
    [
        "Content-Type", "Content-Encoding", "Host", "Last-Event-ID", "Expect", "X-Forwarded-Host", "Idempotency-Key",
        "Prefer", "X-Request-Id", "If-None-Match",
    ],
)  # fmt: skip
def test_no_header_is_repeated(world: World, header: str, long: str) -> None:
    with world.client(world.settings.model_copy(update={"trusted_proxies": "127.0.0.1"})) as api:
        local = TestClient(api.app, client=("127.0.0.1", 1))
        for value in (long, f"{long}.example", f"application/json; charset={long}"):
            sent = {"Content-Type": "application/json", header: value}
            checked(local.post("/jobs", content=b'{"a": "\xff"}', headers=sent), long)
            checked(local.get("/jobs/job_a/events", headers=sent), long)
            checked(local.get("/jobs/job_a", headers=sent), long)


@pytest.mark.parametrize(
    "path",
    [
        "/{}", "/jobs/{}", "/jobs/{}/", "/jobs/{}/events", "/jobs/{}/video", "/jobs/{}/playlist.m3u8", "/problems/{}",
        "/jobs/{}/chunks", "/jobs/a/{}", "/docs/{}",
    ],
)  # fmt: skip
def test_no_path_is_repeated(api: TestClient, path: str, long: str) -> None:
    for method in ("GET", "DELETE", "POST", "PUT", "PATCH"):
        checked(api.request(method, path.format(long)), long)
    checked(api.post(f"/jobs/{long}/cancel"), long)


@pytest.mark.parametrize(
    "query", ["{}=1", "cursor={}", "limit={}", "status={}", "limit={}&limit={}", "after={}", "variant={}", "{}&{}"]
)
def test_no_query_is_repeated(api: TestClient, query: str, long: str) -> None:
    job_id = submit(api)
    paths = {"after": f"/jobs/{job_id}/chunks", "variant": f"/jobs/{job_id}/video"}
    checked(
        api.get(f"{paths.get(query.partition('=')[0], '/jobs')}?{query.format(long[:20_000], long[:20_000])}"), long
    )


def test_a_long_method_is_not_repeated(api: TestClient, long: str) -> None:
    checked(api.request(long.upper(), "/jobs"), long)


@pytest.mark.parametrize("mark", ["\x00", "\x1b[31m", "\u202e", "\x85", "\u2028"])
def test_control_characters_come_back_as_escapes(api: TestClient, mark: str) -> None:
    answers = [
        api.post("/jobs", json={"prompt": PROMPT, f"a{mark}b": 1}),
        api.post("/jobs", json={"prompt": PROMPT, "model": f"a{mark}b"}),
        api.get("/jobs", params={f"a{mark}b": "1"}),
        api.get(f"/nowhere/{quote(mark)}"),
    ]
    for answer in answers:
        told = answer.json()
        assert mark not in f"{told['detail']}{told['field']}{told['fix']}", told
