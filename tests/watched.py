"""`python -m tests.watched ARGUMENTS`: pytest, which also fails if one of its processes leaves something open.

Within a test a ResourceWarning is an error. What is noticed only when a process ends is no more than a line on stderr
(tests/conftest.py has it written), and this fails for it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO

LAST_WORDS_SECONDS = 10.0
"""Programs that outlive pytest may hold stderr open."""


def main(arguments: Sequence[str]) -> int:
    """The exit code of pytest, or 1 if it passed and left something open."""
    pytest = subprocess.Popen([sys.executable, "-m", "pytest", *arguments], stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches pytest too, which ends in order
    assert pytest.stderr is not None
    left_open = list[str]()
    reader = threading.Thread(target=_pass_on, args=(pytest.stderr, left_open), daemon=True)
    reader.start()
    code = pytest.wait()
    reader.join(LAST_WORDS_SECONDS)
    if left_open:
        sys.stderr.write(f"left open until the end of a process: {len(left_open)}\n")
    return code or int(bool(left_open))


def _pass_on(stderr: IO[str], left_open: list[str]) -> None:
    for line in stderr:
        sys.stderr.write(line)
        sys.stderr.flush()
        if "ResourceWarning" in line:
            left_open.append(line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
