"""The README's walk-through, run as it stands: its commands work, and real answers look like the ones shown."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import running
from tests.helpers.presets import copy_sprites
from tests.helpers.video import frames_of

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
WALK_THROUGH = README.split("## A walk-through with curl")[1].split("\n## ")[0]
BASE_URL = "http://127.0.0.1:8000"
pytestmark = pytest.mark.timeout(1000)  # the real networks, on any machine
BASH = shutil.which("bash")


def blocks() -> list[tuple[str, str]]:
    """(language, text) of the section's fenced blocks."""
    return re.findall(r"```(\w+)\n(.*?)```", WALK_THROUGH, flags=re.DOTALL)


def script(url: str) -> str:
    """All commands as one script, each answer in a file of its own: 1.txt, 2.txt, ..."""
    commands = [text.replace(BASE_URL, url) for language, text in blocks() if language == "bash"]
    saved = [f"{{\n{command}\n}} > {number}.txt" for number, command in enumerate(commands, start=1)]
    return "set -euo pipefail\n" + "\n".join(saved)


def shape(value: Any) -> Any:
    """An answer without its values, which may be null by chance: keys of objects, shape of the first entry of lists."""
    if isinstance(value, dict):
        return {key: shape(entry) for key, entry in value.items()}
    return [shape(entry) for entry in value[:1]] if isinstance(value, list) else "value"


def shown_answers() -> dict[int, str]:
    """Answer blocks by the number of the command that they follow."""
    answers: dict[int, str] = {}
    number = 0
    for language, text in blocks():
        if language == "bash":
            number += 1
        else:
            answers[number] = text
    return answers


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the walk-through was run against `longtake up`."""
    if BASH is None or shutil.which("curl") is None:
        pytest.skip("the walk-through needs bash and curl")
    folder = tmp_path_factory.mktemp("readme")
    (folder / "presets").mkdir()
    copy_sprites(folder / "presets")
    with running(["up", "--port", "0", "--data", "data"], folder / "presets", folder) as up:
        url = up.wait_for_line("ready:", seconds=300).split()[1]
        command = [BASH, "-c", script(url)]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
        assert result.returncode == 0, result.stderr + up.output
    return folder


def test_the_video_at_the_end_has_the_frames_asked_for(answers: Path) -> None:
    assert len(frames_of((answers / "video.mp4").read_bytes())) == 48


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
