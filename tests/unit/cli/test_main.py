"""The parser: help that teaches, lazy imports, errors in one sentence."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys

import pytest

from cli.commands import models
from cli.main import COMMANDS, DELEGATING, main, parse_args, run_command
from core.service.domain.errors import SetupError


def test_help_names_every_command_and_starts_without_models_or_servers() -> None:
    script = (
        "import sys; sys.argv = ['longtake', '--help']\n"
        "from cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'celery', 'boto3', 'redis', 'av', 'fastapi', 'rich', 'httpx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert [command.NAME for command in COMMANDS if command.NAME not in result.stdout] == []


@pytest.mark.parametrize(
    "command", [command for command in COMMANDS if command not in DELEGATING], ids=lambda c: c.NAME
)
def test_every_command_explains_itself_with_an_example(
    command: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_args([command.NAME, "--help"])
    help_text = capsys.readouterr().out
    assert "examples:" in help_text
    assert f"longtake {command.NAME}" in help_text


def test_train_passes_its_arguments_on() -> None:
    assert parse_args(["train", "--stage", "vae", "--help"]).rest == ["--stage", "vae", "--help"]


def test_an_unknown_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_args(["models", "--nonsense"])
    assert "--nonsense" in capsys.readouterr().err


def run_with(error: BaseException) -> int:
    """Exit code of a command that ends with `error`."""

    def run(_: argparse.Namespace) -> int:
        raise error

    return run_command(argparse.Namespace(run=run))


def test_an_error_of_ours_is_one_sentence_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_with(SetupError("port 8000 is in use", fix="choose another --port")) == 1
    assert capsys.readouterr().err == "longtake: port 8000 is in use (choose another --port)\n"


def test_a_full_disk_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_with(OSError(28, "No space left on device", "out/job_x.mp4")) == 1
    assert capsys.readouterr().err == "longtake: the disk is full: out/job_x.mp4 could not be written\n"


@pytest.mark.parametrize(("number", "text"), [(13, "Permission denied"), (30, "Read-only file system")])
def test_a_folder_that_cannot_be_used_is_one_sentence(
    capsys: pytest.CaptureFixture[str], number: int, text: str
) -> None:
    assert run_with(OSError(number, text, "out/videos")) == 1
    assert capsys.readouterr().err == f"longtake: out/videos: {text}\n"


def test_an_error_that_no_user_can_mend_has_its_traceback() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        run_with(OSError(9, "Bad file descriptor", "out"))


def test_ctrl_c_leaves_no_traceback() -> None:
    assert run_with(KeyboardInterrupt()) == 130


def test_models_lists_the_shipped_presets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([models.NAME]) == 0
    assert capsys.readouterr().err == ""


def test_a_reader_that_leaves_ends_a_command_without_a_traceback() -> None:
    command = f"{shlex.quote(sys.executable)} -m cli.main completion bash | true"
    result = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert result.stderr == ""
