"""The environment's settings for a command, with a sentence instead of a traceback where a variable is wrong."""

from __future__ import annotations

from core.service.settings import read_settings

__all__ = ["read_settings"]
