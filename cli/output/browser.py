"""Opens a page in the browser of whoever started the command, where there is one to see it."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping

_WITH_WINDOWS = ("DISPLAY", "WAYLAND_DISPLAY")


def open_page(url: str) -> bool:
    """Whether a browser was asked to show `url`. None is where nobody watches the terminal, or without windows: there
    a browser of texts would take the terminal."""
    if not (sys.stdout.isatty() and has_windows(sys.platform, os.environ)):
        return False
    try:
        return webbrowser.open(url)
    except webbrowser.Error:
        return False


def has_windows(platform: str, environment: Mapping[str, str]) -> bool:
    """Whether programs of this session can open windows."""
    if environment.get("SSH_CONNECTION"):
        return False
    return platform == "darwin" or any(environment.get(name) for name in _WITH_WINDOWS)
