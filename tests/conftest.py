"""What every test may use. Knows no server: tests/integration/conftest.py starts those.

Tests find `tests.helpers` because the repository's root is the pytest root.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Read when torch is imported. Tests of tiny models lose more to thread start-up than they gain from a second core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The golden numbers need two threads; beside other test processes they must not wait by spinning.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this checkout."""
    return REPOSITORY


@pytest.fixture(autouse=True)
def _no_settings_from_the_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the person who runs the tests must not change what they find."""
    for name in [name for name in os.environ if name.startswith("LONGTAKE_")]:
        monkeypatch.delenv(name)
