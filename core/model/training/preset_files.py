"""Files that both exports write: half-precision weights and readable JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn


def save_weights(module: nn.Module, path: Path) -> None:
    """Write all weights of a module to one safetensors file, in half precision."""
    weights = {name: tensor.detach().half().contiguous() for name, tensor in module.state_dict().items()}
    save_file(weights, path, metadata={"format": "pt"})


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON with a final newline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
