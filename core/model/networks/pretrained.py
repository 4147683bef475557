"""Downloads of diffusers pipelines, and what diffusers raises while it loads one. Knows no particular pipeline."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors import SafetensorError

from core.service.domain.errors import PresetError

_RAISED = (OSError, ValueError, AttributeError, RuntimeError, SafetensorError)
"""By from_pretrained for files, ids and configs that it cannot use."""


_FIX_OF_DOWNLOADS = "check its name and the network, or put its files in place: docs/models.md says how"


@contextmanager
def loading(what: str, fix: str = _FIX_OF_DOWNLOADS) -> Generator[None]:
    """Within the block, an error of files, Hub ids or configs is raised as a PresetError that names `what`.

    `fix`: what to do about it; for files that are not downloaded, such as those of a folder, another one.
    """
    try:
        yield
    except _RAISED as error:
        raise PresetError(
            f"{what} cannot be loaded: {root_cause(error)}",
            fix=fix,
        ) from error


def root_cause(error: BaseException) -> str:
    """First line of the first error in the chain: diffusers wraps the Hub's errors in advice to read the traceback."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return str(error).strip().partition("\n")[0] or type(error).__name__


def repository_folder(repository: str, variant: str | None = None) -> Path:
    """The folder of a pipeline: "FOLDER", or "ORG/NAME" or "ORG/NAME@REVISION" in the Hub cache.

    Downloaded if it is not cached, with the files of `variant` where it has them. The cache's folder is named after the
    commit. Raises what diffusers raises.
    """
    if Path(repository).is_dir():
        return Path(repository)
    name, _, revision = repository.partition("@")
    try:
        return Path(cast(str, DiffusionPipeline.download(name, revision=revision or None, variant=variant)))
    except ValueError:  # there are no such files
        if variant is None:
            raise
        return repository_folder(repository)


def is_snapshot(folder: Path) -> bool:
    """Whether a folder that `repository_folder` returned is the Hub cache's, hence named after its commit."""
    return folder.parent.name == "snapshots"
