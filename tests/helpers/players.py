"""Programs that play a URL, and how many frames each got: FFmpeg, GStreamer, VLC; and hls.js. Knows no service."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from core.service.video.decode import decode_frames
from tests.helpers.apt import program
from tests.helpers.npm import file_of_npm

HLS_JS = "hls.js@1.7.4"
GSTREAMER_PACKAGES = (
    "gstreamer1.0-tools", "gstreamer1.0-plugins-good", "gstreamer1.0-plugins-bad", "gstreamer1.0-libav",
)  # fmt: skip
NOBODY = 65534
_REMARKS = ("Cannot reuse HTTP connection for different host", "Last message repeated")
"""FFmpeg says this of a redirect to another host before it connects there."""


def frames_by_ffmpeg(url: str, seconds: float = 60) -> int:
    """Frames that FFmpeg decodes within `seconds`."""
    command = [program("ffmpeg", ["ffmpeg"]), "-v", "error", "-i", url, "-map", "0:v", "-f", "framemd5", "-"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    errors = [line for line in run.stderr.splitlines() if not any(remark in line for remark in _REMARKS)]
    assert (run.returncode, errors) == (0, []), "\n".join(errors)
    return sum(not line.startswith("#") for line in run.stdout.splitlines())


def frames_by_gstreamer(url: str, seconds: float = 60) -> int:
    """Frames that GStreamer decodes within `seconds`."""
    gst = program("gst-launch-1.0", GSTREAMER_PACKAGES)
    command = [gst, "-v", "uridecodebin", f"uri={url}", "!", "fakesink", "silent=false", "sync=false"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    assert run.returncode == 0, (run.stdout + run.stderr)[-2000:]
    return len(re.findall(r"chain +\*{7}", run.stdout))


def frames_by_vlc(url: str, seconds: float = 60) -> int:
    """Frames that VLC passes on within `seconds`, at the video's own pace and without a screen."""
    vlc = program("vlc", ["vlc-bin", "vlc-plugin-base"])
    command = [vlc, "-I", "dummy", "--no-audio", "--sout", "#std{access=file,mux=raw,dst=-}", url, "vlc://quit"]
    environment = {**os.environ, "HOME": tempfile.gettempdir()}
    nobody = NOBODY if os.geteuid() == 0 else None  # VLC refuses to run as root
    run = subprocess.run(command, capture_output=True, timeout=seconds, env=environment, user=nobody, group=nobody)
    assert run.stdout, run.stderr.decode(errors="replace")[-2000:]
    return len(decode_frames(run.stdout))


def hls_js_library(folder: Path) -> Path:
    """hls.js as npm has it, downloaded to `folder`. Skips the test, with its reason, where it cannot be had."""
    return file_of_npm(HLS_JS, "dist/hls.min.js", folder)
