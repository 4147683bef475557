"""The demo's data folder: temporary, but kept if the demo fails, because the logs are in it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from core.service.domain.errors import LongtakeError


@contextmanager
def demo_folder() -> Generator[Path]:
    """A new folder, removed at the end. After a LongtakeError it is kept, and its path is printed on stderr."""
    folder = Path(tempfile.mkdtemp(prefix="longtake-demo-"))
    keep = False
    try:
        yield folder
    except LongtakeError:
        keep = True
        print(f"longtake: the demo's logs are in {folder / 'logs'}", file=sys.stderr)
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
