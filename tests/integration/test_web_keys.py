"""The page with API keys: a wrong one, one that is revoked while the page is open, one that may only read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from pydantic import SecretStr

from tests.helpers.axe import faults_of, rules_of_axe
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service
from tests.helpers.web_page import Opened, opened

pytestmark = pytest.mark.timeout(1000)  # apt-get may have to install a browser first
ADMIN_KEY = "an-admin-key-of-32-characters-or-more"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("service")
    write_fake_preset(folder / "presets", "live")
    keys = {"default_model": "live", "media": "proxy", "admin_key": SecretStr(ADMIN_KEY)}
    with running_service(folder, folder / "presets", **keys) as service:
        service.http.headers["Authorization"] = f"Bearer {ADMIN_KEY}"
        service.start_workers("live")
        yield service


@pytest.fixture
def web(web: Opened) -> Iterator[Opened]:
    web.home()
    yield web
    web.forget_failed_requests()


def make_key(service: Service, scope: str) -> dict[str, str]:
    return service.http.post("/keys", json={"name": "a customer", "scope": scope}).raise_for_status().json()


def use(web: Opened, text: str) -> None:
    web.page.get_by_label("Key", exact=True).fill(text)
    web.page.get_by_role("button", name="Use this key").click()


def test_a_wrong_key_is_called_wrong_and_the_right_one_still_works(web: Opened) -> None:
    dialog = web.page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("alert")).to_be_hidden()
    use(web, "not-the-key")
    expect(dialog.get_by_role("alert")).to_contain_text("does not accept this key")
    use(web, "“quoted”")  # cannot be sent in a header
    expect(dialog).to_be_visible()
    use(web, f" {ADMIN_KEY} ")
    expect(dialog).to_be_hidden()
    expect(web.page.get_by_role("combobox", name="Model")).to_have_value("live")


def test_a_key_that_is_revoked_is_asked_for_again(service: Service, web: Opened) -> None:
    key = make_key(service, "jobs")
    use(web, key["key"])
    expect(web.page.get_by_role("combobox", name="Model")).to_have_value("live")
    service.http.delete(f"/keys/{key['id']}").raise_for_status()
    web.page.get_by_label("What the video shows").fill("red without a key")
    expect(web.page.get_by_role("dialog").get_by_role("alert")).to_contain_text("revoked", timeout=60_000)
    use(web, ADMIN_KEY)
    expect(web.page.get_by_role("dialog")).to_be_hidden()


def test_the_requests_for_a_job_read_the_key_from_the_environment(service: Service, web: Opened) -> None:
    use(web, ADMIN_KEY)
    job = service.wait_for_success(service.submit(model="live", num_frames=16).id)
    web.watch(job.id)
    web.page.get_by_text("Make the same elsewhere").click()
    for name, command in (("curl", ["bash", "-c"]), ("Python", [sys.executable, "-c"])):
        web.page.get_by_role("button", name=name).click()
        text = web.page.locator(".share pre").inner_text()
        assert ADMIN_KEY not in text
        environment = {**os.environ, "LONGTAKE_KEY": ADMIN_KEY}
        subprocess.run([*command, text], check=True, capture_output=True, timeout=60, env=environment)
    for made in service.http.get("/jobs").json()["jobs"]:
        service.http.delete(f"/jobs/{made['id']}").raise_for_status()


def test_a_key_that_may_read_is_told_what_it_may_not(service: Service, web: Opened) -> None:
    use(web, make_key(service, "read")["key"])
    expect(web.page.get_by_role("combobox", name="Model")).to_have_value("live")
    web.page.get_by_label("What the video shows").fill("red by a reader")
    web.page.get_by_role("button", name="Make the video").click()
    expect(web.page.get_by_role("alert").filter(has_text=re.compile("scope|may not"))).to_be_visible(timeout=20_000)
    assert service.http.get("/jobs").json()["jobs"] == []


def test_without_a_key_the_form_says_so_once_and_leads_to_the_dialog(web: Opened) -> None:
    dialog = web.page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(web.page.get_by_text("This service asks for an API key.")).to_have_count(1)
    expect(web.page.get_by_label("What the video shows")).to_be_disabled()
    expect(web.page.get_by_role("button", name="Make the video")).to_be_disabled()
    web.page.get_by_role("button", name="Enter a key").click()
    expect(dialog).to_be_visible()
    use(web, ADMIN_KEY)
    expect(web.page.get_by_label("What the video shows")).to_be_enabled()
    assert ADMIN_KEY not in str(web.page.evaluate("sessionStorage.getItem('longtake-draft')"))


def test_a_video_without_a_key_leads_to_the_dialog_in_which_axe_finds_nothing(
    service: Service, browser: Browser, tmp_path: Path
) -> None:
    rules = rules_of_axe(tmp_path)
    job = service.wait_for_success(service.submit(model="live", num_frames=16, prompt="red locked").id)
    with opened(browser, str(service.http.base_url), bypass_csp=True) as web:
        web.page.goto(f"{web.base_url}/#/jobs/{job.id}")
        dialog = web.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        assert faults_of(web.page, rules) == []
        dialog.get_by_role("button", name="Close").click()
        expect(web.page.get_by_text("This service asks for an API key.")).to_be_visible()
        assert faults_of(web.page, rules) == []
        web.page.get_by_role("button", name="Enter a key").click()
        use(web, ADMIN_KEY)
        expect(web.page.get_by_role("heading", level=1)).to_have_text("red locked")
        web.forget_failed_requests()
    service.http.delete(f"/jobs/{job.id}").raise_for_status()
