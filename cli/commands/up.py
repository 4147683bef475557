"""`longtake up`: the embedded stack, kept running until Ctrl-C."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.output.terminal import Screen
    from cli.processes.stack import Stack
    from cli.processes.stop_signal import StopSignal

NAME = "up"
SUMMARY = "start the whole service on this machine and keep it running"
DESCRIPTION = """\
Starts Redis, an S3 server, the API, a generation worker and a CPU worker, and keeps them running until Ctrl-C; what
dies is restarted. Jobs and videos are kept in the data folder, and the next `longtake up` continues them."""
EXAMPLES = """\
examples:
  longtake up
  longtake up --port 9000 --data /srv/longtake --gpus all
  longtake up --model modelscope        downloads the published weights at the first start
"""
CHECK_SECONDS = 0.5
TRY = """\
try (or open {url}/ in a browser):
  curl -X POST {url}/jobs -H 'content-type: application/json' \\
       -d '{{"prompt": "{prompt}", "num_frames": 48}}'
  curl {url}/jobs                          the newest jobs
  curl {url}/jobs/<id>                     one job: status, progress, chunk URLs
  curl -N {url}/jobs/<id>/events           its events as they happen
  ffplay {url}/jobs/<id>/playlist.m3u8     watch it while it grows (or open it in VLC, Safari, hls.js)
  curl -L -o video.mp4 {url}/jobs/<id>/video
  longtake submit "{prompt}" --watch --url {url}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address of the API (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8000, help="port of the API, 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument("--data", default=".longtake", help="data folder (default: %(default)s)")
    parser.add_argument("--model", help="preset of the generation worker (default: LONGTAKE_DEFAULT_MODEL, or sprites)")
    parser.add_argument("--gpus", default="auto", help="auto, all, none, or a list such as 0,1 (default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page, where there is a browser")


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from cli.output.browser import open_page
    from cli.output.terminal import Screen
    from cli.processes.stack import StackOptions, running_stack
    from cli.processes.stop_signal import Stopped, StopSignal

    screen, stop = Screen(), StopSignal()
    stop.install()
    options = StackOptions(Path(args.data), args.host, args.port, args.model, args.gpus)
    try:
        with stop.interruptible():
            _pull_if_needed(args.model, screen)
    except Stopped as stopped:
        return stopped.exit_code
    screen.say("starting Redis, S3, the API and two workers")
    try:
        with running_stack(options, stop) as stack:
            if not args.no_browser:
                open_page(f"{stack.base_url}/")
            _serve(stack, stop, screen)
    except Stopped:
        # Ctrl-C is the normal end of this command: exit code 0.
        screen.say("stopped: every process has ended; jobs and videos are kept in " + str(options.data_dir))
    return 0


def _pull_if_needed(model: str | None, screen: Screen) -> None:
    """Download the model's weights before anything starts: that may take hours."""
    from cli.commands.pull import install
    from core.service.admission.catalog import Catalog
    from core.service.settings import read_settings

    settings = read_settings()
    catalog, name = Catalog(settings), model or settings.default_model
    if name not in catalog.names():
        return  # reported by the stack, after problems with folder and port
    preset = catalog.get(name)
    if not preset.installed:
        screen.say(f"{preset.path.name} is not installed: downloading its weights to {preset.weights}")
        install(preset)


def _serve(stack: Stack, stop: StopSignal, screen: Screen) -> None:
    """Print examples, then restart processes that end. Raises Stopped on a signal."""
    import time

    from cli.commands.demo_video import DEFAULT_PROMPT
    from cli.processes.restarts import Restarter

    screen.say(f"Redis is {stack.redis_program}")
    about = f"a page to make and watch videos; docs at {stack.base_url}/docs, logs in {stack.data_dir / 'logs'}"
    screen.say(f"ready: {stack.base_url} ({about})")
    screen.say(TRY.format(url=stack.base_url, prompt=DEFAULT_PROMPT))
    if stack.settings.admin_key is not None:
        screen.say('every request needs a key: add -H "Authorization: Bearer $LONGTAKE_ADMIN_KEY"')
    screen.say("Ctrl-C stops everything.")
    restarter = Restarter(stack.parts, screen.say, time.monotonic())
    while True:
        restarter.check(time.monotonic())
        with stop.interruptible():
            time.sleep(CHECK_SECONDS)
