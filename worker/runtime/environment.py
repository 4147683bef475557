"""The environment of child processes that read files which clients had a hand in."""

from __future__ import annotations

from collections.abc import Mapping

_ALLOWED_NAMES = frozenset({"PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "HOME", "VIRTUAL_ENV"})
_ALLOWED_PREFIXES = ("PYTHON", "LC_")


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Only names on the allowlist, so no secrets of the deployment."""
    return {
        name: text for name, text in environment.items() if name in _ALLOWED_NAMES or name.startswith(_ALLOWED_PREFIXES)
    }
