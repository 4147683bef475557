"""docs/http-api.md, executed: every example works, in the shell, in Python and in JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.service.engines.definition import read_preset
from core.service.settings import SHIPPED_PRESETS_DIR
from core.service.testing.definitions import FakePreset
from tests.helpers.pages import BASE_URL, REPOSITORY, blocks, examples, run_examples, section
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service
from tests.helpers.video import frames_of

API_PAGE = (REPOSITORY / "docs" / "http-api.md").read_text()
KEYS_SECTION = section(API_PAGE, "API keys")
OPEN_PAGE = API_PAGE.replace(KEYS_SECTION, "")
"""What runs without API keys."""
ADMIN_KEY = "an-admin-key-of-32-characters-or-more"
LANGUAGES = ("bash", "python", "javascript")
NAMES = ("trailer-7", "8e03978e-40d5", "monday")
"""Ids and keys that the page chooses: each language has its own."""
RECEIVER = "https://example.com/hooks"
"""Instead of it the service itself is sent the webhooks, and refuses them."""
STEP_SECONDS = 0.1
"""Eight of them are a chunk: long enough to steer a job on its way."""


@dataclass(frozen=True)
class Ran:
    """What the examples of one language printed and saved."""

    printed: list[str]
    folder: Path

    def of(self, mark: str) -> str:
        """What the first example printed whose shell command has `mark`."""
        return self.printed[next(index for index, text in enumerate(examples(OPEN_PAGE, "bash")) if mark in text)]

    def codes_of(self, mark: str) -> list[str]:
        return re.findall(r"\b[23]\d\d\b", self.of(mark))


def shipped(name: str) -> dict[str, Any]:
    """What requests for a shipped model may contain, as keys of a fake preset."""
    capabilities = read_preset(SHIPPED_PRESETS_DIR / name).capabilities
    return capabilities.model_dump(mode="json", include={*FakePreset.model_fields})


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service whose model makes a chunk in 0.8 s."""
    folder = tmp_path_factory.mktemp("api_page")
    write_fake_preset(folder / "presets", "sprites", steps=8, step_seconds=STEP_SECONDS)
    for name in ("sprites-zero", "sprites-edit"):
        write_fake_preset(folder / "presets", name, **shipped(name))
    with running_service(folder, folder / "presets", default_model="sprites", media="proxy") as service:
        service.start_workers("sprites")
        yield f"http://127.0.0.1:{service.api_port}"


@pytest.fixture(scope="module", params=LANGUAGES)
def ran(url: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    language = str(request.param)
    folder = tmp_path_factory.mktemp(language)
    replaced = {BASE_URL: url, RECEIVER: f"{url}/hooks", **{name: f"{name}-{language}" for name in NAMES}}
    return Ran(run_examples(OPEN_PAGE, language, replaced, folder), folder)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with API keys."""
    folder = tmp_path_factory.mktemp("keyed")
    write_fake_preset(folder / "presets", "fake")
    with running_service(folder, folder / "presets", default_model="fake", admin_key=SecretStr(ADMIN_KEY)) as service:
        yield service


@pytest.mark.parametrize("language", LANGUAGES)
def test_keys_are_made_used_changed_and_revoked(keyed: Service, language: str, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{keyed.api_port}"
    variables = {"LONGTAKE_ADMIN_KEY": ADMIN_KEY}
    (printed,) = run_examples(KEYS_SECTION, language, {BASE_URL: url}, tmp_path, variables)
    assert re.search(r"name\W+Example Ltd", printed)
    assert re.search(r"jobs\W+\[\]", printed)
    assert re.search(r"requests_per_minute\W+600\b", printed)
    assert printed.endswith("204\n")


def test_every_example_is_there_in_every_language() -> None:
    order = [language for language, _ in blocks(API_PAGE) if language not in {"json", "text"}]
    assert order == [*LANGUAGES] * (len(order) // 3)
    assert len(order) >= 3 * 18


def test_jobs_are_created_and_steered(ran: Ran) -> None:
    assert re.search(r"acts_from_frame\W+(0|16)\b", ran.of("-X PATCH"))
    assert ran.codes_of("Idempotency-Key") == ["202", "200"]
    assert ran.of("-X PUT").strip() == "201"
    assert ran.codes_of("Prefer: wait")[0] in {"200", "202"}  # 202 on a machine that needs longer
    assert "preference-applied: wait=60" in ran.of("Prefer: wait")
    assert re.search(r"num_chunks\W+6\b", ran.of("dry_run"))
    assert {*re.findall(r"status\W+(\d+)\b", ran.of("/jobs/batch"))} == {"202", "422"}


def test_jobs_are_extended_retried_and_branched(ran: Ran) -> None:
    for mark, generation in (("/extend", 1), ("/retry", 1), ("/branch", 0)):
        assert "202" in ran.codes_of(mark)
        assert re.search(rf"generation\W+{generation}\b", ran.of(mark))
    assert re.search(r"job_id\W+job_\w+", ran.of("/branch"))


def test_jobs_are_read_played_and_stopped(ran: Ran) -> None:
    assert len(ran.of("limit=1000").split()) <= 3
    assert re.search(r"frames_total\W+48\b", ran.of('null}"'))
    assert ran.codes_of("If-None-Match") == ["304"]
    canceled, deleted, discarded = ran.codes_of("-X DELETE $BASE/jobs")[:3]  # rates of GET /status follow
    assert (canceled, deleted in {"202", "204"}, discarded) == ("202", True, "204")
    assert "202" in ran.codes_of("curl -fsS -T")


def test_control_editing_and_sizes_are_asked_for(ran: Ran) -> None:
    assert ran.codes_of("control") == ["202"]
    assert re.search(r"num_frames: (None|null)", ran.of("make it blue"))
    assert ran.of("96x64").strip() == "width: 96"


def test_a_video_is_measured(ran: Ran) -> None:
    assert re.search(r"scuts\W+(?:value\W+)?0\b", ran.of("metrics.json"))
    assert ran.of("metrics.json").split()[-1] == "202"


def test_webhooks_are_shown_and_sent_again(ran: Ran) -> None:
    assert "202" in ran.codes_of("/redeliver")
    assert re.search(r"state\W+pending\b", ran.of("/redeliver"))
    assert re.search(r"event\W+job.succeeded\b", ran.of("/redeliver"))
    assert re.search(r"state\W+failed\b", ran.of("/webhooks/ping"))
    assert re.search(r"status_code\W+404\b", ran.of("/webhooks/ping"))


def test_what_is_saved_is_whole(ran: Ran) -> None:
    assert "event: job.succeeded" in (ran.folder / "events.txt").read_text()
    for name in ("video.mp4", "v1.mp4"):
        assert len(frames_of((ran.folder / name).read_bytes())) == 16
    assert len((ran.folder / "head.mp4").read_bytes()) == 100
    assert (ran.folder / "thumbnail.jpg").read_bytes().startswith(b"\xff\xd8")


def test_every_verb_has_an_example() -> None:
    listed = re.findall(r"^\| `([A-Z]+) (/\S*)` \|", API_PAGE, flags=re.MULTILINE)
    commands = "\n".join(examples(API_PAGE, "bash")).replace("\\\n", " ")
    assert len(listed) > 20
    assert [(method, path) for method, path in listed if not has_example(method, path, commands)] == []


def has_example(method: str, path: str, commands: str) -> bool:
    """Whether a line of the commands sends this method to this path."""
    target = re.sub(r"\\\{[a-z_]+\\\}", r"[^/?\\s]+", re.escape(path))
    lines = [line for line in commands.splitlines() if re.search(rf"\$BASE{target}(?=[?\"\s]|$)", line)]
    return any(method == sent_method(line) for line in lines)


def sent_method(line: str) -> str:
    named = re.search(r"-X ([A-Z]+)", line)
    return named[1] if named else "POST" if " -d " in line else "GET"
