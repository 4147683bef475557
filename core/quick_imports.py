"""Imports of large libraries without the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Generator[None]:
    """Import within the block: nothing is collected there, in any thread.

    An import of torch and diffusers makes a million objects that stay, and the collector would look through them again
    and again. Where blocks overlap in time, the collector is on again when the first one ends.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
