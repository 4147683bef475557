"""JSON files of repositories."""

import json
from pathlib import Path
from typing import Any, cast

from core.service.domain.errors import CheckpointUnreadable


def read_object(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises CheckpointUnreadable."""
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointUnreadable(f"{file} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointUnreadable(f"{file} is not a JSON object")
    return cast("dict[str, Any]", content)
