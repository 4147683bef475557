"""Fixtures of all tests. No servers: tests/integration/conftest.py starts those.

Tests find `tests.helpers` because the repository's root is the pytest root.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import warnings
from collections.abc import Generator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Read when torch is imported. Tests of tiny models lose more to thread start-up than they gain from a second core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The golden numbers need two threads; beside other test processes they must not wait by spinning.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# What a process holds open until it ends is said then (tests/watched.py fails for it).
atexit.register(warnings.simplefilter, "default", ResourceWarning)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torch-free", action="store_true", help="fail the file or the test that imports torch")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--torch-free"):
        if "torch" in sys.modules:
            raise pytest.UsageError("a conftest.py or a plugin imports torch")
        config.pluginmanager.register(TorchFree(), "torch-free")


class TorchFree:
    """Names who imported torch into a process that had none."""

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        had_torch = "torch" in sys.modules
        report = yield
        if "torch" in sys.modules and not had_torch:
            report.outcome, report.longrepr = "failed", f"{collector.nodeid} imports torch"
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None]:
        had_torch = "torch" in sys.modules
        yield
        if "torch" in sys.modules and not had_torch:
            pytest.fail(f"{item.nodeid} imports torch", pytrace=False)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this checkout."""
    return REPOSITORY


@pytest.fixture(autouse=True)
def _no_settings_from_the_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the person who runs the tests must not change what they find."""
    for name in [name for name in os.environ if name.startswith("LONGTAKE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logging_stays_as_it_is() -> Generator[None]:
    """A test that sets the level of all logging would take their messages from the tests after it."""
    level = logging.root.level
    yield
    changed, logging.root.level = logging.root.level, level
    assert changed == level, f"the level of the root logger is {logging.getLevelName(changed)} after this test"
