"""What diffusers raises while it loads a pipeline, reported as a PresetError. Knows no particular pipeline."""

from collections.abc import Generator
from contextlib import contextmanager

from safetensors import SafetensorError

from core.service.domain.errors import PresetError

_RAISED = (OSError, ValueError, AttributeError, RuntimeError, SafetensorError)
"""By from_pretrained for files, ids and configs that it cannot use."""


@contextmanager
def loading(what: str) -> Generator[None]:
    """Within the block, an error of files, Hub ids or configs is raised as a PresetError that names `what`."""
    try:
        yield
    except _RAISED as error:
        raise PresetError(
            f"{what} cannot be loaded: {root_cause(error)}",
            fix="check its name and the network, or put its files in place: docs/models.md says how",
        ) from error


def root_cause(error: BaseException) -> str:
    """First line of the first error in the chain: diffusers wraps the Hub's errors in advice to read the traceback."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return str(error).strip().partition("\n")[0] or type(error).__name__
