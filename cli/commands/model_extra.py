"""The seam between the command line and the model half: an extra that may not be installed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from core.service.domain.errors import SetupError


@contextmanager
def needing_model_half(what: str, extras: str = "model") -> Generator[None]:
    """Import core.model within the block. Raises SetupError saying what to install where a package is missing.

    `extras`: those of this project that bring all it needs, separated by commas.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise SetupError(
            f"{what} needs the Python package {error.name}", fix=f"pip install 'longtake[{extras}]'"
        ) from error
