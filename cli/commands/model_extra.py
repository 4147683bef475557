"""The extra `model` of this project, which may not be installed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from core.quick_imports import quick_imports
from core.service.domain.errors import SetupError


@contextmanager
def model_extra(what: str, extras: str = "model") -> Generator[None]:
    """Import core.model within the block. If a package is missing, raises SetupError with the command that installs it.

    `what` begins the sentence ("training"). `extras` are separated by commas.
    """
    try:
        with quick_imports():
            yield
    except ModuleNotFoundError as error:
        raise SetupError(
            f"{what} needs the Python package {error.name}", fix=f"pip install 'longtake[{extras}]'"
        ) from error
