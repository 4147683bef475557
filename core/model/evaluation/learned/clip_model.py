"""A CLIP model of transformers."""

from __future__ import annotations


class ClipModel:
    """A CLIP model that embeds frames and texts."""

    name: str


def load_clip(model: str, device: str | None = None) -> ClipModel:
    """From a folder, or by a Hub name. Raises PresetError."""
    raise NotImplementedError
