"""Why setup failed, in one sentence with the package and the fix, from pages of pip's output."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence

NEWEST_TRIED = "3.14"


class SetupFailed(Exception):
    """Setup cannot continue. The message is one sentence."""


def explain(output: str, otherwise: str) -> str:
    """One sentence for the output of a failed pip (or venv): the package and the fix. It begins with `otherwise` if
    none of the known reasons is found."""
    reasons = "".join(line for line in output.splitlines(keepends=True) if not _was_tried_again(line))
    for pattern, sentence in REASONS:
        if match := re.search(pattern, reasons):
            package = next((name for name in match.groupdict().values() if name), None) or _last_package(output)
            return sentence.format(package=package, python=platform.python_version(), tried=NEWEST_TRIED)
    errors = re.findall(r"(?m)^\s*(?:ERROR|error): (.+)$", output)
    reason = f": {errors[-1].strip()[:200]}" if errors else ""
    return f"{otherwise} at {_last_package(output)}{reason}"


def _was_tried_again(line: str) -> bool:
    """A warning about a connection that pip retried: only the last one is a failure."""
    return line.startswith("WARNING: Retrying") and "total=0," not in line


def _last_package(output: str) -> str:
    """The package that pip did not find, or else the last one that it collected or downloaded."""
    missing = re.findall(rf"No matching distribution found for {_NAME}", output)
    found = re.findall(r"(?m)^\s*(?:Collecting ([\w.-]+)|Downloading ([\w.]+?)-\d)", output)
    names = [*(a or b for a, b in found), *missing]
    return names[-1].replace("_", "-") if names else "the start"


_NAME = r"(?P<package>[A-Za-z0-9](?:[\w.-]*\w)?)"
_COMPILERS = r"'(?:gcc|g\+\+|cc|c\+\+|clang|cargo|rustc|cmake)'|command '[^']+' failed|[Cc]ompiler"
_OTHER_PYTHON = "use a Python from 3.11 to {tried} (PYTHON=...)"
_AGAIN = ", and start again"
# In this order: without a network pip ends with "no matching distribution", and a build may fail for a full disk.
REASONS: Sequence[tuple[str, str]] = (
    (
        r"No space left on device|Disk quota exceeded",
        "the disk is full at {package}: free some here and in the temporary folder (TMPDIR sets another)" + _AGAIN,
    ),
    (
        r"NewConnectionError|NameResolutionError|Failed to establish a new connection|Temporary failure in name"
        r" resolution|ConnectTimeoutError|Connection refused|Network is unreachable|RemoteDisconnected|ProxyError",
        "the package index could not be reached for {package}: check the network or the proxy" + _AGAIN,
    ),
    (
        r"(?i)ReadTimeoutError|Read timed out|IncompleteRead|connection (?:was )?(?:reset|broken)|incomplete-download",
        "the download of {package} was interrupted: start again; finished downloads are kept",
    ),
    (
        r"SSLError|CERTIFICATE_VERIFY_FAILED",
        "the package index's certificate is not trusted, at {package}: set PIP_CERT to your network's certificate"
        + _AGAIN,
    ),
    (
        r"DO NOT MATCH THE HASHES",
        "the download of {package} is damaged: run `pip cache purge`" + _AGAIN,
    ),
    (
        rf"(?:{_COMPILERS})[\s\S]*Failed building wheel for {_NAME}",
        "{package} has no wheel for Python {python} on this machine, and building it needs a compiler: "
        + _OTHER_PYTHON
        + ", or install gcc"
        + _AGAIN,
    ),
    (
        rf"Failed building wheel for {_NAME}|metadata-generation-failed[\s\S]*─> (?P<other>\S+)",
        "{package} has no wheel for Python {python} on this machine and could not be built: " + _OTHER_PYTHON,
    ),
    (
        rf"No matching distribution found for {_NAME}",
        "{package} has no package for Python {python} on this machine: "
        + _OTHER_PYTHON
        + " on Linux x86-64, Linux Arm or macOS",
    ),
    (
        rf"Cannot install {_NAME}",
        "{package} conflicts with another package: remove your own constraints (see `pip config list`)" + _AGAIN,
    ),
    (
        r"Permission denied|Read-only file system",
        "no permission to write at {package}: make this folder and pip's cache your own (chown)" + _AGAIN,
    ),
    (
        r"MemoryError|Cannot allocate memory",
        "there is not enough memory for {package}: end other programs" + _AGAIN,
    ),
)
