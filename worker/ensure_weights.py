"""A model whose weights are not on this machine is installed by the first worker that needs it.

Knows the model half only by name, as the rest of the worker does.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable

from core.service.admission.catalog import PresetFolder
from core.service.domain.errors import Interrupted

HUB_MODULE = "core.model.hub"


def install(preset: PresetFolder, tell: Callable[[str], None], stop: threading.Event) -> None:
    """Pull the weights where they are missing, telling how far it is; another process's pull is waited for.

    Raises Interrupted when the process shall stop (what came is kept), DownloadError, ConversionError.
    """
    if not preset.installed:
        importlib.import_module(HUB_MODULE).pull(preset, report=in_words(preset.path.name, tell, stop))


def in_words(name: str, tell: Callable[[str], None], stop: threading.Event) -> Callable[[str, int, int], None]:
    """A report of bytes that tells whole percents, each once."""
    told = ""

    def report(phase: str, done_bytes: int, total_bytes: int) -> None:
        nonlocal told
        if stop.is_set():
            raise Interrupted(f"the installation of {name} goes on at the next start")
        words = f"installing {name}: {phase}, {100 * done_bytes // max(total_bytes, 1)} %"
        if words != told:
            told = words
            tell(words)

    return report
