"""/docs in a real browser without the internet: it shows every operation, takes an API key and sends requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from tests.helpers.browser import chromium
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import running_service

ADMIN_KEY = "an-admin-key-of-32-characters-or-more"


def test_a_developer_tries_a_request_with_a_key_and_nothing_else_is_asked_for(tmp_path: Path) -> None:
    write_fake_preset(tmp_path / "presets", "fake")
    keys = {"admin_key": SecretStr(ADMIN_KEY)}
    with (
        running_service(tmp_path, tmp_path / "presets", default_model="fake", **keys) as service,
        chromium() as browser,
    ):
        page = browser.new_page()
        asked = list[str]()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{service.api_port}/docs")
        page.click("button.authorize")
        page.locator("#auth-bearer-value").fill(ADMIN_KEY)
        page.locator("button[aria-label='Apply credentials']").first.click()
        page.locator("button.btn-done").first.click()
        models = page.locator("#operations-models-list_models")
        models.locator("button.opblock-summary-control").click()
        models.locator("button.try-out__btn").click()
        models.locator("button.execute").click()
        assert models.locator(".live-responses-table tbody td.response-col_status").first.inner_text().startswith("200")
        assert page.locator(".opblock").count() == count_of_operations(service.http.get("/openapi.json").json())
    of_pages = {urlsplit(url).netloc for url in asked if not url.startswith("data:")}
    assert of_pages == {f"127.0.0.1:{service.api_port}"}


def count_of_operations(document: dict[str, Any]) -> int:
    return sum(len(methods) for kind in ("paths", "webhooks") for methods in document[kind].values())
