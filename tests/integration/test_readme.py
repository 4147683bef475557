"""README, walk-through and the client's page, executed: commands and examples work, answers have the shape shown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.pages import BASE_URL, REPOSITORY, bash, blocks, running_up
from tests.helpers.video import frames_of

README = (REPOSITORY / "README.md").read_text()
WALK_THROUGH = (REPOSITORY / "docs" / "walk-through.md").read_text()
pytestmark = pytest.mark.timeout(1000)  # the real networks, on any machine


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
    with running_up(tmp_path_factory.mktemp("up")) as url:
        yield url


def run_page(page: str, url: str, folder: Path) -> Path:
    command = [bash(), "-c", script(page, url)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def answers(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the walk-through was run."""
    return run_page(WALK_THROUGH, url, tmp_path_factory.mktemp("walk_through"))


def test_the_readme_s_commands_end_with_a_chunk_and_the_video(url: str, tmp_path: Path) -> None:
    folder = run_page(README, url, tmp_path)
    assert json.loads((folder / "steered.json").read_text())["acts_from_frame"] in {0, 16, 32}
    assert len(frames_of((folder / "chunk.mp4").read_bytes())) == 16
    assert len(frames_of((folder / "video.mp4").read_bytes())) == 48


def run_python(page: str, url: str, folder: Path) -> str:
    """What the page's Python examples print, run as one program."""
    code = "\n".join(text for language, text in blocks(page) if language == "python").replace(BASE_URL, url)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_client_s_examples_run(url: str, tmp_path: Path) -> None:
    printed = run_python((REPOSITORY / "docs" / "client.md").read_text(), url, tmp_path)
    assert "succeeded None" in printed
    assert "job.succeeded" in printed
    assert "True succeeded" in printed
    assert "[202, 422] too_few_frames" in printed
    assert "too_few_frames num_frames give at least 16 frames" in printed
    assert {file.name for file in tmp_path.iterdir()} == {"video.mp4", "chunk-0.mp4", "chunk-1.mp4"}


def test_the_readme_s_python_prints_chunks_and_saves_the_video(url: str, tmp_path: Path) -> None:
    printed = run_python(README, url, tmp_path)
    assert len(re.findall(r"/chunks/\d+\.mp4", printed)) == 3
    assert len(frames_of((tmp_path / "video.mp4").read_bytes())) == 48


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
