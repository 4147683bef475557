"""The seam between the command line and the model half: an extra that may not be installed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from core.service.errors import SetupError


@contextmanager
def needing_model_half(what: str) -> Generator[None]:
    """Import core.model within the block. Raises SetupError saying what to install where a package is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SetupError(
            f"{what} needs the Python package {error.name}", fix="pip install 'longtake[model]'"
        ) from error
