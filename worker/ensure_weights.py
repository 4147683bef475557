"""The first worker that needs a model whose weights are not on this machine installs them.

Imports the model half by name, when it is needed.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable

from core.service.admission.catalog import PresetFolder
from core.service.domain.errors import Interrupted

HUB_MODULE = "core.model.hub"


def install(preset: PresetFolder, report: Callable[[str], None], stop: threading.Event) -> None:
    """Pull the weights if they are missing, and report progress. A pull of another process is waited for.

    Raises Interrupted once `stop` is set (what was downloaded is kept), DownloadError, ConversionError.
    """
    if not preset.installed:
        importlib.import_module(HUB_MODULE).pull(preset, report=in_words(preset.path.name, report, stop))


def in_words(name: str, report: Callable[[str], None], stop: threading.Event) -> Callable[[str, int, int], None]:
    """A callback for (phase, bytes done, bytes in total) that reports whole percents, each once."""
    last = ""

    def report_bytes(phase: str, done_bytes: int, total_bytes: int) -> None:
        nonlocal last
        if stop.is_set():
            raise Interrupted(f"the installation of {name} continues at the next start")
        words = f"installing {name}: {phase}, {100 * done_bytes // max(total_bytes, 1)} %"
        if words != last:
            last = words
            report(words)

    return report_bytes
