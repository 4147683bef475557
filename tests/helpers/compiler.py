"""torch.compile between tests."""

from __future__ import annotations

import warnings

import torch


def reset_compiler() -> None:
    """Forget what was compiled. If that is the process' first use of inductor, torch warns of torch.jit."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script_method` is", DeprecationWarning)
        torch.compiler.reset()
