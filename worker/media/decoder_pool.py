"""Decodes each file in a separate process, so that a file that crashes or hangs FFmpeg fails one job only.

The processes get no secrets: their environment is filtered. Knows no job, no store and no network.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from core.service.domain import errors
from core.service.domain.errors import MediaError, MediaTooLarge, MediaUnreadable
from core.service.domain.media_types import MediaKind
from core.service.domain.schema import JobWarning
from core.service.media.decoded import Tick
from worker.media.decode import DecodeRequest
from worker.media.decode_process import START_SECONDS, STARTED
from worker.runtime.child_process import last_words, running

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "worker.media.decode_process")
CHECK_SECONDS = 0.2
_MEDIA_ERRORS: Mapping[str, type[MediaError]] = {
    error.code: error
    for error in (
        errors.MediaTooLarge,
        errors.MediaTypeRefused,
        errors.MediaUnreadable,
        errors.VideoTooShort,
    )
}


class DecodingStalled(Exception):
    """A decoder hangs, or the machine had too little CPU time for it. Can be retried."""


class _Slots:
    """Limits how many files are decoded at a time. One owner never has all slots, unless there is only one."""

    def __init__(self, at_a_time: int) -> None:
        self._free = at_a_time
        self._per_owner = max(1, at_a_time - 1)
        self._taken = Counter[str]()
        self._changed = threading.Condition()

    @contextmanager
    def slot_for(self, owner: str, tick: Tick) -> Generator[None]:
        while not self._take(owner):
            tick()
        try:
            yield
        finally:
            self._give_back(owner)

    def _take(self, owner: str) -> bool:
        """False if no slot became free within CHECK_SECONDS."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_slot_for(owner), CHECK_SECONDS):
                return False
            self._free -= 1
            self._taken[owner] += 1
            return True

    def _has_slot_for(self, owner: str) -> bool:
        return self._free > 0 and self._taken[owner] < self._per_owner

    def _give_back(self, owner: str) -> None:
        with self._changed:
            self._free += 1
            self._taken[owner] -= 1
            self._taken += Counter()  # drops entries of zero
            self._changed.notify_all()


class DecoderPool:
    """A `Decode` that runs a process per file, `at_a_time` of them."""

    def __init__(self, at_a_time: int, command: Sequence[str] = COMMAND, start_seconds: float = START_SECONDS) -> None:
        self._slots = _Slots(at_a_time)
        self._command = command
        self._start_seconds = start_seconds

    def __call__(self, request: DecodeRequest, tick: Tick) -> tuple[JobWarning, ...]:
        folder = request.file.parent
        message = request.model_dump_json().encode()
        with (
            self._slots.slot_for(request.owner, tick),
            running(self._command, message, stdout=folder / "answer", stderr=folder / "stderr") as process,
        ):
            answer = self._await(process, request, tick)
        if answer is None:
            raise MediaUnreadable(f"the {request.kind} crashes the decoder", fix="encode it again")
        return _warnings_of(answer, request.kind)

    def _await(self, process: subprocess.Popen[bytes], request: DecodeRequest, tick: Tick) -> Mapping[str, Any] | None:
        """The outcome it reports; None if it crashed. Raises DecodingStalled if it does not end in time."""
        until = time.monotonic() + self._start_seconds + request.wall_seconds
        while process.poll() is None:
            if time.monotonic() > until:
                raise DecodingStalled(f"decoding the {request.kind} did not end within {request.wall_seconds:g} s")
            with suppress(subprocess.TimeoutExpired):
                process.wait(CHECK_SECONDS)
            tick()
        return _answer(process, request)


def _answer(process: subprocess.Popen[bytes], request: DecodeRequest) -> Mapping[str, Any] | None:
    lines = (request.file.parent / "answer").read_text().splitlines()
    if process.returncode == 0:
        return json.loads(lines[-1])
    if process.returncode == -signal.SIGXCPU:
        message = f"the {request.kind} takes more than {request.decode_seconds:g} s to decode"
        raise MediaTooLarge(message, fix="give a shorter or smaller file")
    said = last_words(request.file.parent / "stderr")
    logger.error("the decoder ended with exit status %s: %s", process.returncode, said)
    if lines != [STARTED]:
        raise RuntimeError("the decoder cannot start")
    return None


def _warnings_of(answer: Mapping[str, Any], kind: MediaKind) -> tuple[JobWarning, ...]:
    """The warnings. Raises the error that the process reports."""
    if "errno" in answer:
        raise OSError(answer["errno"], os.strerror(answer["errno"]))
    if "memory" in answer:
        raise MediaTooLarge(f"the {kind} needs more memory than a decoder may use", fix="give a smaller file")
    if "code" in answer:
        raise _MEDIA_ERRORS.get(answer["code"], MediaUnreadable)(answer["message"], fix=answer["fix"])
    return tuple(JobWarning.model_validate(warning) for warning in answer["warnings"])
