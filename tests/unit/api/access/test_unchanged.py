"""304 for a job that has not changed: exactly where the route would answer it, also behind a proxy's prefix."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from core.service.domain.errors import StoreUnavailable
from tests.helpers.api_world import World, submit

FORMS = ("{}", "W/{}", '"other", {}', '"other" , W/{}')


@pytest.mark.parametrize("query", ["", "?include=chunks", "?include=chunks&", "?"])
@pytest.mark.parametrize("form", FORMS)
def test_an_unchanged_job_is_304_and_a_changed_one_is_not(api: TestClient, world: World, query: str, form: str) -> None:
    path = f"/jobs/{submit(api)}{query}"
    known = api.get(path).headers["etag"]
    for method in ("GET", "HEAD"):
        answer = api.request(method, path, headers={"If-None-Match": form.format(known)})
        assert (answer.status_code, answer.headers["etag"], answer.content) == (304, known, b"")
        assert answer.headers["x-request-id"]
    world.start(path.removeprefix("/jobs/").partition("?")[0])
    answer = api.get(path, headers={"If-None-Match": form.format(known)})
    assert (answer.status_code, answer.headers["etag"] != known) == (200, True)


def test_the_tag_of_one_form_of_the_answer_is_not_that_of_another(api: TestClient) -> None:
    path = f"/jobs/{submit(api)}"
    known = api.get(path).headers["etag"]
    assert api.get(f"{path}?include=chunks", headers={"If-None-Match": known}).status_code == 200
    assert api.get(path, headers={"If-None-Match": known, "Host": "localhost"}).status_code == 200


def test_a_prefix_of_a_trusted_proxy_is_part_of_the_tag(world: World) -> None:
    with world.client(world.settings.model_copy(update={"trusted_proxies": "127.0.0.1"})) as api:
        local = TestClient(api.app, client=("127.0.0.1", 1))
        path, prefix = f"/jobs/{submit(api)}", {"X-Forwarded-Prefix": "/longtake"}
        known = local.get(path, headers=prefix).headers["etag"]
        assert local.get(path, headers={**prefix, "If-None-Match": known}).status_code == 304
        assert local.get(path, headers={"If-None-Match": known}).status_code == 200


def test_what_is_not_there_is_404_and_wrong_is_422(api: TestClient, world: World) -> None:
    job_id = submit(api)
    known = api.get(f"/jobs/{job_id}").headers["etag"]
    for tag in (known, "*"):
        headers = {"If-None-Match": tag}
        assert api.get("/jobs/job_nowhere", headers=headers).status_code == 404
        assert api.get(f"/jobs/{job_id}?include=frames", headers=headers).status_code == 422
    assert api.get(f"/jobs/{job_id}", headers={"If-None-Match": "*"}).status_code == 304
    world.start(job_id)
    api.delete(f"/jobs/{job_id}")
    for tag in (known, "*"):
        assert api.get(f"/jobs/{job_id}", headers={"If-None-Match": tag}).status_code == 404


def test_an_outage_is_told_as_to_all_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_job_ids: object) -> None:
        raise StoreUnavailable("Redis does not answer")

    for read in ("looks", "marks"):
        monkeypatch.setattr(world.store, read, fail)
    with world.client() as api:
        answer = api.get("/jobs/job_a", headers={"If-None-Match": '"a"'})
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
