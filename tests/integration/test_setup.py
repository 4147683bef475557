"""The setup with a real pip in its own virtual environment, against package indexes of this machine only."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest

from setup.environment import install_cpu_torch, make_venv, torch_requirement
from setup.machine import answers
from setup.pip import Pip
from setup.reasons import SetupFailed
from tests.helpers.wheels import write_empty_wheel

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("setup") / ".venv"
    make_venv(folder)
    return folder


@pytest.fixture(autouse=True)
def _no_pip_settings_from_the_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No index but the test's: a configuration of this machine's would be asked too."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "cache"))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def index_of(folder: Path) -> Generator[str]:
    """URL of a package index: a folder per package."""
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def version_in(venv: Path, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.check_output([venv / "bin" / "python", "-c", code], text=True).strip()


def pip_of(venv: Path, tmp_path: Path, stream: io.StringIO) -> Pip:
    return Pip(venv / "bin" / "python", tmp_path / "setup.log", stream)


def test_torch_comes_from_the_cpu_index_where_it_answers(venv: Path, tmp_path: Path) -> None:
    requirement = torch_requirement(REPOSITORY / "pyproject.toml")
    version = f"{requirement.partition('==')[2]}+cpu"
    write_empty_wheel(tmp_path / "index" / "torch", "torch", version)
    stream = io.StringIO()

    with index_of(tmp_path / "index") as url:
        assert answers(f"{url}/torch/")
        install_cpu_torch(pip_of(venv, tmp_path, stream), requirement, url, stream)

    assert version_in(venv, "torch") == version
    assert "continuing with PyPI" not in stream.getvalue()


def test_an_index_without_a_build_for_here_is_said_and_the_set_up_goes_on(venv: Path, tmp_path: Path) -> None:
    (tmp_path / "index" / "torch").mkdir(parents=True)
    stream = io.StringIO()

    with index_of(tmp_path / "index") as url:
        install_cpu_torch(pip_of(venv, tmp_path, stream), "torch==2.99.0", url, stream)

    assert stream.getvalue().splitlines()[-1].endswith("continuing with PyPI")


def test_no_network_is_one_sentence_and_pip_s_words_are_in_the_log(
    venv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
        stream = io.StringIO()

        with pytest.raises(SetupFailed) as failed:
            pip_of(venv, tmp_path, stream).install("no-such-package-here")

    log = tmp_path / "setup.log"
    assert str(failed.value) == (
        "the package index could not be reached for no-such-package-here: check the network or the proxy, and start"
        f" again (pip's output: {log})"
    )
    assert "ERROR" in log.read_text()
    assert "ERROR" not in stream.getvalue()


def test_a_package_without_a_build_for_this_python_is_named(
    venv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_empty_wheel(tmp_path / "index" / "einops", "einops", "0.8")
    with index_of(tmp_path / "index") as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        with pytest.raises(SetupFailed, match=r"^einops has no package for Python 3"):
            pip_of(venv, tmp_path, io.StringIO()).install("einops>=9")


def test_ctrl_c_ends_pip_and_leaves_no_traceback(tmp_path: Path) -> None:
    """The index takes the connection and says nothing: pip would wait for it."""
    shutil.copytree(REPOSITORY / "setup", tmp_path / "setup")
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvidia-smi").touch(mode=0o755)  # with a GPU here, PyTorch's CPU index is not asked
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(120)
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        with subprocess.Popen(
            [sys.executable, "-m", "setup.environment"],
            cwd=tmp_path,
            env={**os.environ, "PIP_INDEX_URL": index, "PATH": path, "PYTHONPATH": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as started:
            connection, _ = silent.accept()
            (pip,) = psutil.Process(started.pid).children()
            started.send_signal(signal.SIGINT)
            said, _ = started.communicate(timeout=60)
            connection.close()

    assert started.returncode == 130
    assert "PyTorch with CUDA for the NVIDIA GPU" in said
    assert said.splitlines()[-1] == "Longtake's setup was stopped; the next run continues from here."
    assert "Traceback" not in said
    assert not pip.is_running()


def test_an_environment_of_another_python_is_replaced(tmp_path: Path) -> None:
    old = tmp_path / ".venv"
    old.mkdir()
    (old / "pyvenv.cfg").write_text("version = 3.9.2\n")
    (old / "old").touch()

    make_venv(old)

    assert not (old / "old").exists()
    asked = [old / "bin" / "python", "-c", "import sys; print(sys.version_info[:2])"]
    assert subprocess.check_output(asked, text=True).strip() == str(sys.version_info[:2])
