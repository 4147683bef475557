"""What all networks of metrics share when they are loaded: optional packages, weights files, names by checksum."""

from __future__ import annotations

import hashlib
import importlib
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.model.checksums import file_sha256
from core.service.domain.errors import PresetError

OPTIONAL = ("torchvision", "lpips")
ONE_KIND = "torch and torchvision both from PyPI, or both from PyTorch's own index, of versions that belong together"
_RAISED = (ImportError, RuntimeError, OSError, AttributeError)
"""By the import of a torchvision that does not fit torch, and by what imports it."""


def import_package(name: str, extra: str | None = None) -> Any:
    """A module that needs torchvision, or reads it where it is installed.

    `extra`: the extra of longtake that brings it. Raises PresetError, with what to install.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if extra is None or missing not in OPTIONAL:
            raise _unusable(name, error) from error
        fix = f"pip install 'longtake[{extra}]' into an environment that has {ONE_KIND}: docs/evaluation.md says how"
        raise PresetError(f"{missing} is not installed", fix=fix) from error
    except _RAISED as error:
        raise _unusable(name, error) from error


def _unusable(name: str, error: Exception) -> PresetError:
    """The installed packages do not work together."""
    return PresetError(
        f"{name} cannot be imported beside torch {torch.__version__}: {error}",
        fix=f"install {ONE_KIND}; or remove torchvision (pip uninstall torchvision), which only RAFT and LPIPS need",
    )


def cached_file(name: str) -> Path:
    """Where torchvision keeps a downloaded weights file, such as ~/.cache/torch/hub/checkpoints/NAME."""
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def read_tensors(file: Path, fix: str) -> dict[str, Tensor]:
    """The tensors of a .pth file, on the CPU. Nothing in the file is called. Raises PresetError, with `fix`."""
    if not file.is_file():
        raise PresetError(f"{file} is missing", fix=fix)
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
        return {str(name): tensor for name, tensor in content.items()}
    except (OSError, RuntimeError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise PresetError(f"{file} holds no weights: {str(error).partition(chr(10))[0]}", fix=fix) from error


def digest(files: Iterable[Path]) -> str:
    """First 12 hex digits of SHA-256 over the contents of files, in order of their names."""
    sums = [file_sha256(file) for file in sorted(files)]
    return hashlib.sha256("".join(sums).encode()).hexdigest()[:12]
