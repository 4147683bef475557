"""README, walk-through and the client's page, executed: commands and examples work, answers have the shape shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import running
from tests.helpers.presets import copy_sprites
from tests.helpers.video import frames_of

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text()
WALK_THROUGH = (REPOSITORY / "docs" / "walk-through.md").read_text()
API_PAGE = (REPOSITORY / "docs" / "http-api.md").read_text()
BASE_URL = "http://127.0.0.1:8000"
pytestmark = pytest.mark.timeout(1000)  # the real networks, on any machine
BASH = shutil.which("bash")


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of a page's fenced blocks."""
    return re.findall(r"```(\w+)\n(.*?)```", page, flags=re.DOTALL)


def script(page: str, url: str) -> str:
    """All commands as one script, each answer in a file of its own: 1.txt, 2.txt, ... Webhooks go to the service, which
    refuses them."""
    local = [(BASE_URL, url), ("https://example.com/hooks", f"{url}/hooks")]
    commands = [text for language, text in blocks(page) if language == "bash"]
    for told, used in local:
        commands = [text.replace(told, used) for text in commands]
    saved = [f"{{\n{command}\n}} > {number}.txt" for number, command in enumerate(commands, start=1)]
    return "set -euo pipefail\n" + "\n".join(saved)


def shape(value: Any) -> Any:
    """An answer without its values, which may be null by chance: keys of objects, shape of the first entry of lists."""
    if isinstance(value, dict):
        return {key: shape(entry) for key, entry in value.items()}
    return [shape(entry) for entry in value[:1]] if isinstance(value, list) else "value"


def shown_answers() -> dict[int, str]:
    """Answer blocks of the walk-through by the number of the command that they follow."""
    answers: dict[int, str] = {}
    number = 0
    for language, text in blocks(WALK_THROUGH):
        if language == "bash":
            number += 1
        else:
            answers[number] = text
    return answers


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`longtake up` with the shipped model."""
    if BASH is None or shutil.which("curl") is None:
        pytest.skip("the commands need bash and curl")
    folder = tmp_path_factory.mktemp("up")
    (folder / "presets").mkdir()
    copy_sprites(folder / "presets")
    private = {"LONGTAKE_WEBHOOK_ALLOW_PRIVATE_ADDRESSES": "true"}
    with running(["up", "--port", "0", "--data", "data"], folder / "presets", folder, **private) as up:
        yield up.wait_for_line("ready:", seconds=300).split()[1]


def run_page(page: str, url: str, folder: Path) -> Path:
    assert BASH is not None
    command = [BASH, "-c", script(page, url)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def answers(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the walk-through was run."""
    return run_page(WALK_THROUGH, url, tmp_path_factory.mktemp("walk_through"))


@pytest.fixture(scope="module")
def api_page(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the examples of the API's page were run."""
    return run_page(API_PAGE, url, tmp_path_factory.mktemp("api_page"))


def test_the_readme_s_commands_end_with_a_chunk_and_the_video(url: str, tmp_path: Path) -> None:
    folder = run_page(README, url, tmp_path)
    assert json.loads((folder / "steered.json").read_text())["acts_from_frame"] in {0, 16, 32}
    assert len(frames_of((folder / "chunk.mp4").read_bytes())) == 16
    assert len(frames_of((folder / "video.mp4").read_bytes())) == 48


def test_the_examples_of_the_api_page_create_and_steer_jobs(api_page: Path) -> None:
    number_of = {name: number for number, name in enumerate(("patch", "key", "put", "wait", "dry", "batch"), start=1)}
    answers = {name: (api_page / f"{number}.txt").read_text() for name, number in number_of.items()}
    changed = json.loads(answers["patch"])
    assert changed["request"]["prompt_changes"] or "blue" in changed["request"]["prompt"]
    assert changed["acts_from_frame"] in {0, 16}
    assert re.findall(r"^HTTP/1.1 (\d+)", answers["key"], flags=re.MULTILINE) == ["202", "200"]
    assert "idempotency-replayed: true" in answers["key"]
    assert answers["put"] == "201\n"
    assert re.match(r"HTTP/1.1 20[02] ", answers["wait"])  # 202 on a machine that needs longer
    assert "preference-applied: wait=60" in answers["wait"]
    assert json.loads(answers["dry"])["num_chunks"] == 6
    assert [each["status"] for each in json.loads(answers["batch"])["results"]] == [202, 422]


def test_the_examples_of_the_api_page_extend_retry_and_branch_jobs(api_page: Path) -> None:
    extended, retried, branched = (
        (api_page / f"{number}.txt").read_text().strip().rsplit("\n", 1) for number in (7, 8, 9)
    )
    assert [each[1] for each in (extended, retried, branched)] == ["202"] * 3
    assert [json.loads(each[0])["generation"] for each in (extended, retried, branched)] == [1, 1, 0]
    assert json.loads(branched[0])["branched_from"]["job_id"] == json.loads(extended[0])["id"]


def test_the_examples_of_the_api_page_read_play_and_stop_jobs(api_page: Path) -> None:
    assert json.loads((api_page / "11.txt").read_text())["progress"]["frames_total"] == 48
    chunk_urls, unchanged, stopped = ((api_page / f"{number}.txt").read_text().split() for number in (10, 12, 13))
    assert len(chunk_urls) <= 3
    assert unchanged == ["304"]
    assert (stopped[0], stopped[1] in {"202", "204"}, stopped[2]) == ("202", True, "204")
    assert "event: job.succeeded" in (api_page / "events.txt").read_text()
    assert len(frames_of((api_page / "video.mp4").read_bytes())) == 16
    assert len((api_page / "head.mp4").read_bytes()) == 100
    assert (api_page / "thumbnail.jpg").read_bytes().startswith(b"\xff\xd8")


def test_the_examples_of_the_api_page_send_a_webhook_again_and_a_ping(api_page: Path) -> None:
    again, status = (api_page / "14.txt").read_text().strip().rsplit("\n", 1)
    assert (status, json.loads(again)["event"], json.loads(again)["state"]) == ("202", "job.succeeded", "pending")
    ping = json.loads((api_page / "15.txt").read_text())
    assert (ping["state"], [attempt["status_code"] for attempt in ping["attempts"]]) == ("failed", [404])


def test_every_verb_of_the_api_page_has_an_example_that_runs() -> None:
    listed = re.findall(r"^\| `([A-Z]+) (/\S*)` \|", API_PAGE, flags=re.MULTILINE)
    commands = "\n".join(text for language, text in blocks(API_PAGE) if language == "bash").replace("\\\n", " ")
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


def test_the_client_s_examples_run(url: str, tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "client.md").read_text()
    code = "\n".join(text for language, text in blocks(page) if language == "python").replace(BASE_URL, url)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "succeeded None" in result.stdout
    assert "job.succeeded" in result.stdout
    assert "True succeeded" in result.stdout
    assert "[202, 422] too_few_frames" in result.stdout
    assert "too_few_frames num_frames give at least 16 frames" in result.stdout
    assert {file.name for file in tmp_path.iterdir()} == {"video.mp4", "chunk-0.mp4", "chunk-1.mp4"}


def test_the_video_at_the_end_has_the_frames_asked_for(answers: Path) -> None:
    assert len(frames_of((answers / "video.mp4").read_bytes())) == 48
    assert (answers / "thumbnail.jpg").read_bytes().startswith(b"\xff\xd8")


def test_json_answers_have_the_shape_shown(answers: Path) -> None:
    shown = {number: text for number, text in shown_answers().items() if text.startswith(("{", "["))}
    assert len(shown) >= 3
    for number, text in shown.items():
        real = json.loads((answers / f"{number}.txt").read_text())
        assert shape(json.loads(text)) == shape(real), f"answer {number}"


def test_the_events_shown_are_those_that_come(answers: Path) -> None:
    shown = set(re.findall(r"^event: (\S+)", WALK_THROUGH, flags=re.MULTILINE))
    real = set(re.findall(r"^event: (\S+)", (answers / "2.txt").read_text(), flags=re.MULTILINE))
    assert shown == real
    assert {"job.progress", "chunk.completed", "job.succeeded"} <= real


def test_the_playlist_shown_has_the_tags_of_the_real_one(answers: Path) -> None:
    def tags(text: str) -> set[str]:
        return set(re.findall(r"^#[A-Z0-9-]+", text, flags=re.MULTILINE))

    (number,) = [number for number, text in shown_answers().items() if text.startswith("#EXTM3U")]
    assert tags(shown_answers()[number]) == tags((answers / f"{number}.txt").read_text())
