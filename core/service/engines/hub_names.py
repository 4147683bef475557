"""Names of files of the Hugging Face Hub, and where they are installed."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_VARIANT = re.compile(r"\.(?:fp16|bf16)(?=[.-])")
"""In names of weights, of their shards, and of the indices of these."""


def plain_name(name: str) -> str:
    """The name of a file of weights, of a shard or of an index, without its variant."""
    return _VARIANT.sub("", name)


def require_inside(name: str) -> None:
    """Raises ValueError for a path that leads out of its folder, or into a hidden one."""
    path = PurePosixPath(name)
    if path.is_absolute() or any(part.startswith(".") for part in path.parts):
        raise ValueError(f"{name} is no path within the weights folder")
