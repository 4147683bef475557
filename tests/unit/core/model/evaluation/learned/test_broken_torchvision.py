"""A torchvision that does not fit torch: harms nobody who does not need it, and those who do are told what to do.

In a process of its own, whose torchvision raises at import what PyPI's raises beside PyTorch's CPU build of torch.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CAUSE = "operator torchvision::nms does not exist"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of packages with such a torchvision and its metadata, and an lpips that imports it."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(f"raise RuntimeError({CAUSE!r})\n")
    (tmp_path / "torchvision-0.28.0.dist-info").mkdir()
    (tmp_path / "torchvision-0.28.0.dist-info" / "METADATA").write_text("Name: torchvision\nVersion: 0.28.0\n")
    (tmp_path / "lpips.py").write_text("import torchvision\n")
    return tmp_path


def run(site: Path, repository: Path, code: str) -> str:
    path = os.pathsep.join([str(site), str(repository)])
    program = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(program, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_modules_are_imported(site: Path, repository: Path) -> None:
    package = "core.model.evaluation.learned"
    modules = [file.stem for file in (repository / package.replace(".", "/")).glob("*.py")]
    assert "raft" in modules
    imports = "; ".join(f"import {package}.{module}" for module in modules)
    assert run(site, repository, f"{imports}; print('imported')") == "imported\n"


@pytest.mark.parametrize(
    ("module", "call"),
    [("raft", "load_raft()"), ("lpips_anchor", "load_lpips()"), ("clip_model", "load_clip('.')")],
)
def test_who_needs_it_is_told_the_cause_and_the_fix(site: Path, repository: Path, module: str, call: str) -> None:
    code = f"""
from core.model.evaluation.learned.{module} import {call.partition("(")[0]}
from core.service.domain.errors import PresetError
try:
    {call}
except PresetError as error:
    print(error.with_fix)
"""
    said = run(site, repository, code)
    assert CAUSE in said
    assert "pip uninstall torchvision" in said
    assert "both from PyPI, or both from PyTorch's own index" in said
