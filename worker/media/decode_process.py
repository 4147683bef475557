"""The program that decodes one file, with limits of CPU time, memory and file size.

Run as `python -m worker.media.decode_process`. Input: a DecodeRequest as JSON on stdin. Output: the line STARTED, then
the outcome as a line of JSON.
"""

from __future__ import annotations

import json
import math
import resource
import signal
import sys
import time
from typing import Any

from core.processes import end_with_parent
from core.service.domain.errors import MediaError
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.media.video import DECODER_THREADS
from worker.media.decode import RGB_CHANNELS, DecodeRequest, decode_media
from worker.runtime.limits import limit_memory, set_limit

START_SECONDS = 15.0
"""How long the program may take to start; not counted as decoding."""
STARTED = "started"
_BYTES_BESIDE_PIXELS = 1_000_000


def main() -> int:
    if sys.platform == "linux":  # elsewhere its alarm ends it after its worker was killed
        end_with_parent(by=signal.SIGKILL)
    request = DecodeRequest.model_validate_json(sys.stdin.buffer.read())
    # FFmpeg may hang without returning to Python; the signal's default action ends the process.
    signal.alarm(math.ceil(START_SECONDS + request.wall_seconds))
    _limit(request)
    _write_line(STARTED)
    _write_line(json.dumps(_outcome(request)))
    return 0


def _write_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _outcome(request: DecodeRequest) -> dict[str, Any]:
    try:
        warnings = decode_media(request, lambda: None)
    except MediaError as error:
        return {"code": error.code, "message": error.message, "fix": error.fix}
    except MemoryError:
        return {"memory": True}
    except OSError as error:
        return {"errno": error.errno or 0}
    return {"warnings": [warning.model_dump(mode="json") for warning in warnings]}


def _limit(request: DecodeRequest) -> None:
    """Limit CPU time, file size and memory. Decoders stop before the CPU limit by themselves, with a better message."""
    cpu_seconds = math.ceil(time.process_time() + request.decode_seconds * DECODER_THREADS) + 1
    pixels = max(request.max_image_pixels, CHUNK_FRAMES * request.height * request.width)
    file_bytes = RGB_CHANNELS * pixels + _BYTES_BESIDE_PIXELS
    set_limit(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1)  # equal ones would kill without SIGXCPU
    set_limit(resource.RLIMIT_FSIZE, file_bytes)
    set_limit(resource.RLIMIT_CORE, 0)
    limit_memory(request.memory_bytes)


if __name__ == "__main__":
    sys.exit(main())
