"""LPIPS of each frame to the anchor frame."""

from __future__ import annotations


class LpipsNetwork:
    """The package lpips' network."""

    name: str
