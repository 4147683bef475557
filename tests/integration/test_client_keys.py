"""Client and command line against a service with API keys."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr

from cli.main import main
from client import Forbidden, KeyLimits, KeyRefused, LimitReached, Longtake, NotFound
from tests.helpers.deadline import eventually
from tests.helpers.service import Service, running_service
from tests.integration.conftest import write_presets

ADMIN = "the operator's own key, 32 and more".replace(" ", "-")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose every request needs a key."""
    folder = tmp_path_factory.mktemp("guarded")
    presets = write_presets(folder / "presets")
    with running_service(folder, presets, default_model="fake", admin_key=SecretStr(ADMIN)) as service:
        service.start_workers("fake")
        yield service


@pytest.fixture
def url(guarded: Service, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where commands find the service; they are the operator's unless a test says otherwise."""
    address = f"http://127.0.0.1:{guarded.api_port}"
    monkeypatch.setenv("LONGTAKE_URL", address)
    monkeypatch.setenv("LONGTAKE_KEY", ADMIN)
    return address


@pytest.fixture
def operator(url: str) -> Iterator[Longtake]:
    with Longtake(url, ADMIN) as longtake:
        yield longtake


def test_customers_make_videos_and_do_not_see_one_another_s(url: str, operator: Longtake) -> None:
    one, other = operator.keys.create("one"), operator.keys.create("other")
    with Longtake(url, one.key) as mine, Longtake(url, other.key) as theirs:
        job = mine.jobs.create(prompt="a red square", num_frames=32)
        assert [len(mine.fetch(chunk.url)) == chunk.size_bytes for chunk in job.chunks()] == [True, True]
        assert [seen.id for seen in mine.jobs.list()] == [job.id]
        assert list(theirs.jobs.list()) == []
        with pytest.raises(NotFound):
            theirs.jobs.get(job.id)
        assert [seen.id for seen in operator.jobs.list(owner=one.id)] == [job.id]


def test_a_limit_is_told_with_when_to_come_back_and_what_is_used(url: str, operator: Longtake) -> None:
    limits: KeyLimits = {"frames_per_day": 40}
    with Longtake(url, operator.keys.create("small", limits=limits).key, max_retries=0) as longtake:
        longtake.jobs.create(prompt="a red square", num_frames=32).wait()
        with pytest.raises(LimitReached) as refused:
            longtake.jobs.create(prompt="a red square", num_frames=16)
        used = longtake.keys.current().usage or {}
    assert (refused.value.code, (refused.value.retry_after_seconds or 0) > 0) == ("limit_reached", True)
    assert used["frames_today"] == 32
    assert used["stored_bytes"] > 0


def test_links_play_without_a_key_until_they_are_revoked(url: str, operator: Longtake) -> None:
    key = operator.keys.create("player").key
    with Longtake(url, key) as longtake:
        job = longtake.jobs.create(prompt="a red square", num_frames=16).wait()
        link = job.links.video
        assert httpx.get(link, follow_redirects=True, trust_env=False, timeout=30).status_code == 200
        job.revoke_links()
        assert httpx.get(link, trust_env=False, timeout=30).status_code == 401
        newer = job.refresh().links.video
        assert httpx.get(newer, follow_redirects=True, trust_env=False, timeout=30).status_code == 200


def test_a_scope_that_does_not_suffice_is_named(url: str, operator: Longtake) -> None:
    with Longtake(url, operator.keys.create("dashboard", scope="read").key) as longtake:
        assert list(longtake.jobs.list()) == []
        assert longtake.keys.current().scope == "read"
        with pytest.raises(Forbidden) as refused:
            longtake.jobs.create(prompt="a red square")
    assert refused.value.code == "scope_missing"
    assert "jobs" in str(refused.value)


def test_a_missing_or_wrong_key_is_refused_and_not_tried_again(url: str) -> None:
    for key in (None, "lt_wrong", ADMIN + "x"):
        with Longtake(url, key) as longtake, pytest.raises(KeyRefused) as refused:
            longtake.jobs.create(prompt="a red square")
        assert refused.value.code == "key_refused"


@pytest.mark.usefixtures("url")
def test_keys_are_made_limited_rotated_and_revoked_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str, code: int = 0) -> str:
        assert main(list(words)) == code
        return capsys.readouterr().out.strip()

    made = json.loads(said("keys", "create", "Example Ltd", "--frames", "480", "--json"))
    assert f"{made['id']}  jobs   valid    Example Ltd  (frames 480)" in said("keys", "list")
    assert "frames                 no limit" in said("keys", "limits", made["id"], "--frames", "none")
    newer = said("keys", "rotate", made["id"], "--grace-seconds", "0")
    assert said("keys", "rotate", made["id"], "--webhook-secret").startswith("whsec_")
    eventually(lambda: main(["list", "--key", made["key"]]) == 1, "the old text to be refused")
    assert "set LONGTAKE_KEY, or pass --key" in capsys.readouterr().err
    job = said("submit", "a red square", "--frames", "16", "--key", newer)
    assert said("watch", job, "--key", newer)
    assert said("keys", "revoke", made["id"]) == "revoked"
    eventually(lambda: main(["get", job, "--key", newer]) == 1, "the key to be refused")
