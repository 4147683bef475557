"""`longtake demo`: the whole service once, on this machine, from prompt to verified webhook and contact sheet."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.output.results import IndependentRefiner
    from cli.output.terminal import Screen
    from cli.processes.stack import Stack
    from cli.processes.stop_signal import StopSignal
    from cli.processes.webhook_receiver import Receiver
    from client import Job, Longtake
    from core.service.domain.engine import FramesTHWC
    from core.service.domain.schema import Job as JobData
    from core.service.domain.schema import JobSpec
    from core.service.settings import Settings

NAME = "demo"
SUMMARY = "run the whole service once: a prompt becomes a video that grows while you watch"
DESCRIPTION = """\
Starts Redis, an S3 server, the API, a generation worker and a CPU worker on free ports of this machine, submits one
job over HTTP, shows its chunks as they appear, verifies the signed webhook, saves the video and a contact sheet, and
stops everything again. Needs no Docker, no GPU and no account."""
EXAMPLES = """\
examples:
  longtake demo
  longtake demo --prompt "a blue square moving up over a plain background" --frames 100 --seed 7
  longtake demo --refine --frames 100
  longtake demo --model sprites-zero --control canny
  longtake demo --model sprites-edit --prompt "make it blue" --video clip.mp4
"""
WEBHOOK_TIMEOUT_SECONDS = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompt", help="what the video shows (default: the model's first example)")
    parser.add_argument("--frames", type=int, help="length, any number from 16 on (default: 48, or the input's)")
    parser.add_argument("--seed", type=int, default=4, help="same seed, same video (default: %(default)s)")
    parser.add_argument("--refine", action="store_true", help="also make it in a higher resolution")
    parser.add_argument("--model", help="preset to use (default: LONGTAKE_DEFAULT_MODEL, or sprites)")
    parser.add_argument("--control", metavar="TYPE", help="follow the edges (canny), depth ... of --video")
    parser.add_argument("--video", metavar="FILE", help="video to follow or edit (default: the model's example)")
    parser.add_argument("--gpus", default="auto", help="auto, all, none, or a list such as 0,1 (default: %(default)s)")
    parser.add_argument("--out", default="out", help="folder of the results (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    from cli.output.terminal import Screen
    from cli.processes.stop_signal import Stopped, StopSignal

    screen, stop = Screen(), StopSignal()
    stop.install()
    try:
        return _demo(args, screen, stop)
    except Stopped as stopped:
        screen.say("stopped: every process of the demo has ended")
        return stopped.exit_code


def _demo(args: argparse.Namespace, screen: Screen, stop: StopSignal) -> int:
    from cli.commands.api import api_client
    from cli.output.demo_folder import demo_folder
    from cli.processes.stack import StackOptions, running_stack
    from cli.processes.webhook_receiver import running_receiver

    screen.say("stack     starting Redis, S3, the API and two workers")
    with demo_folder() as folder:
        options = StackOptions(folder, model=args.model, gpus=args.gpus, allow_private_webhooks=True)
        with running_stack(options, stop) as stack:
            secret = stack.settings.webhook_secret
            assert secret is not None, "the stack always has one"
            admin = stack.settings.admin_key
            key = admin.get_secret_value() if admin else None
            with running_receiver(secret.get_secret_value()) as receiver, api_client(stack.base_url, key) as client:
                with stop.interruptible():
                    job = _one_job(args, screen, stack, receiver, client)
                screen.say("stack     stopping")
    return 0 if job.status == "succeeded" else 1


def _one_job(args: argparse.Namespace, screen: Screen, stack: Stack, receiver: Receiver, client: Longtake) -> Job:
    """Submit, follow, wait for the webhook (of a failed job, too), save, summarize."""
    from functools import partial
    from pathlib import Path

    from cli.commands.demo_video import input_clip, input_media, wanted_video
    from cli.output.results import save_results
    from cli.output.summary import summarize
    from core.service.admission.catalog import Catalog

    screen.say(f"stack     Redis is {stack.redis_program}")
    screen.say(f"stack     ready: API {stack.base_url} (docs at {stack.base_url}/docs)")
    for worker in stack.workers():
        screen.say(f"worker    {worker.name}: {worker.kind}, {worker.device}, {worker.state}")
    wanted = wanted_video(args, Catalog(stack.settings).get(stack.settings.default_model))
    media = input_media(wanted, client)
    job = client.jobs.create({**wanted.fields, **media, "webhook_url": receiver.url})
    if wanted.clip is not None:
        screen.say(f"input     {wanted.clip}")
    length = "as long as its input" if job.request.num_frames is None else f"{job.request.num_frames} frames"
    screen.say(f"job       {job.id}: {job.request.prompt!r}, {length}, seed {job.request.seed}")
    screen.say(f"playlist  {job.links.playlist} (play it now: it grows)")
    screen.say(f"page      {stack.base_url}/#/jobs/{job.id} (or watch it there)")
    screen.show_job(checked(job.follow(), stack.check), partial(job.chunks, live=False))
    event = receiver.wait_for_end(job.id, WEBHOOK_TIMEOUT_SECONDS, stack.check)
    screen.say(f"webhook   {event.type} received, signature verified ({event.id})")
    if job.status != "succeeded":
        reason = f"{job.error.code}: {job.error.message}" if job.error else "without a reason"
        screen.say(f"job       {job.status.value}: {reason}")
        return job
    refiner, clip = _independent_refiner(screen, stack.settings), input_clip(wanted, stack.settings)
    saved = save_results(client, job, Path(args.out), refiner, clip)
    screen.say(f"saved     {', '.join(map(str, saved.files))}")
    screen.show_summary(summarize(job.data, list(job.chunks(live=False))))
    return job


def checked(jobs: Iterable[JobData], check: Callable[[], None]) -> Iterator[JobData]:
    """The same jobs, with a call of `check` before each; it may raise to end the iteration."""
    for job in jobs:
        check()
        yield job


def _independent_refiner(screen: Screen, settings: Settings) -> IndependentRefiner:
    """Refines a preview in independent windows, for the comparison in the picture only."""

    def refine(spec: JobSpec, preview: FramesTHWC) -> FramesTHWC:
        from cli.output.independent_windows import refine_independently
        from worker.engines import load_refiner

        screen.say("picture   refining the preview once more, in independent windows")
        return refine_independently(load_refiner(settings, spec.model), spec, preview)

    return refine
