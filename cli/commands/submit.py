"""`longtake submit`: POST /jobs from the command line."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from cli.commands.input_files import reference_of
from cli.commands.priorities import PRIORITIES

if TYPE_CHECKING:
    from client import Longtake

NAME = "submit"
SUMMARY = "submit a job to a running service"
DESCRIPTION = """\
Sends one job to the API and prints its id. What is left out takes the model's defaults. The API checks everything
and names the wrong field and the fix."""
EXAMPLES = """\
examples:
  longtake submit "a red circle moving left over a striped background" --frames 48
  longtake submit "a blue square moving up over a plain background" --seconds 12.5 --seed 7 --watch
  longtake submit "a red circle moving left over a striped background" --json | python -m json.tool
  longtake submit "a red circle moving left over a striped background" --refine --watch
  longtake submit "a red circle moving left over a plain background" --video out/clip.mp4 --watch
  longtake submit "a red circle moving left over a striped background" --endless
  longtake submit "a red circle moving left over a striped background" --measure
  longtake submit "a blue circle" --model sprites-zero --control canny=clip.mp4 --watch
  longtake submit "a blue circle" --priority low
  longtake submit "make it blue" --model sprites-edit --video clip.mp4 --watch
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_api_arguments, add_json_argument

    parser.add_argument("prompt", nargs="?", help="what the video shows, in plain English; some models read none")
    parser.add_argument(
        "--enhance-prompt",
        action="store_const",
        const=True,
        help="let the operator's language model write a longer prompt",
    )
    parser.add_argument("--negative-prompt", help="what it should not show")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--frames", type=int, dest="num_frames", help="length in frames, any number from 16 on")
    length.add_argument("--endless", action="store_true", help="without end, until it is canceled or gets an end")
    length.add_argument("--seconds", type=float, help="length in seconds of playback")
    parser.add_argument("--fps", type=_rate, metavar="RATE", help="playback rate: 24, 23.976 or 30000/1001")
    parser.add_argument("--seed", type=int, help="same seed, same video; random if left out")
    parser.add_argument("--model", help="a name that `longtake models` lists")
    parser.add_argument("--guidance-scale", type=float, help="how strongly the prompt is followed")
    parser.add_argument("--steps", type=int, dest="num_inference_steps", help="denoising steps per window")
    parser.add_argument(
        "--profile", choices=("fast", "reference"), help="reference: sampling exactly as published, slower"
    )
    parser.add_argument("--first-chunk-steps", type=int, help="denoising steps of the first 16 frames")
    parser.add_argument("--first-chunk-guidance-scale", type=float, help="how strongly the prompt is followed in them")
    parser.add_argument("--image", metavar="FILE|URL", help="first frame of the video; a file is uploaded")
    parser.add_argument("--video", metavar="FILE|URL", help="video to continue, or to edit; a file is uploaded")
    parser.add_argument(
        "--control",
        metavar="TYPE=FILE|URL",
        help="video that the result follows, for example canny=clip.mp4; a file is uploaded",
    )
    parser.add_argument("--control-scale", type=float, help="how strongly it is followed: 0 to 2 (default: 1)")
    parser.add_argument("--size", metavar="WIDTHxHEIGHT", help="in pixels, if the model makes others than its own")
    refine = parser.add_argument_group(
        "refinement", "any of these options asks for it; the others take the model's defaults"
    )
    refine.add_argument("--refine", action="store_true", help="also make the video in a higher resolution")
    refine.add_argument("--refine-strength", type=float, help="how much may change: above 0, at most 1")
    refine.add_argument("--refine-steps", type=int, help="denoising steps per refinement window")
    refine.add_argument("--refine-guidance-scale", type=float, help="how strongly the prompt is followed in details")
    refine.add_argument("--refine-size", metavar="WIDTHxHEIGHT", help="in the proportions of the preview")
    refine.add_argument(
        "--refine-schedule",
        choices=("streaming", "lockstep"),
        help="while the video grows (default), or after its last frame",
    )
    parser.add_argument("--measure", action="store_true", help="also measure the video: `longtake metrics` shows it")
    parser.add_argument("--webhook-url", help="called with a signed POST when the job ends")
    parser.add_argument("--webhook-event", action="append", dest="webhook_events", help="may be repeated")
    parser.add_argument("--webhook-secret", help="signs them, instead of the key's own: whsec_...")
    parser.add_argument(
        "--parameter", action="append", metavar="KEY=VALUE", help="a field of this model's engine; may be repeated"
    )
    parser.add_argument(
        "--metadata", action="append", metavar="KEY=VALUE", help="returned with the job; may be repeated"
    )
    parser.add_argument("--priority", choices=PRIORITIES, help="which jobs are made first (default: normal)")
    add_api_arguments(parser)
    add_json_argument(parser)
    parser.add_argument("--watch", action="store_true", help="follow the job until it ends, as `longtake watch` does")


def _rate(text: str) -> int | float | str:
    """The number, if it is one; the API checks anything else."""
    if text.isdecimal():
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


REFINE_FIELDS = ("strength", "steps", "guidance_scale", "size", "schedule")
REQUEST_FIELDS = (
    "prompt",
    "enhance_prompt",
    "negative_prompt",
    "num_frames",
    "seconds",
    "fps",
    "seed",
    "model",
    "guidance_scale",
    "num_inference_steps",
    "profile",
    "size",
    "webhook_url",
    "webhook_events",
    "webhook_secret",
    "priority",
)


def request_body(args: argparse.Namespace) -> dict[str, Any]:
    """The body of POST /jobs for these arguments, without input media."""
    body = {name: getattr(args, name) for name in REQUEST_FIELDS if getattr(args, name) is not None}
    if args.endless:
        body["num_frames"] = None
    first_chunk = {
        "num_inference_steps": args.first_chunk_steps,
        "guidance_scale": args.first_chunk_guidance_scale,
    }
    if any(first_chunk.values()):
        body["first_chunk"] = {name: value for name, value in first_chunk.items() if value is not None}
    refine = {name: getattr(args, f"refine_{name}") for name in REFINE_FIELDS}
    if options := {name: value for name, value in refine.items() if value is not None}:
        body["refine"] = options
    elif args.refine:
        body["refine"] = True
    if args.measure:
        body["measure"] = True
    if args.metadata:
        body["metadata"] = dict(_key_value(entry, "metadata") for entry in args.metadata)
    if args.parameter:
        pairs = (_key_value(entry, "parameter") for entry in args.parameter)
        body["parameters"] = {key: _json_or_text(value) for key, value in pairs}
    return body


def _json_or_text(value: str) -> object:
    """A number, true, a list ... if it is JSON; otherwise the text."""
    import json

    try:
        return json.loads(value)
    except ValueError:
        return value


def _key_value(entry: str, option: str, form: str = "KEY=VALUE") -> tuple[str, str]:
    from core.service.domain.errors import InvalidField

    key, separator, value = entry.partition("=")
    if not separator:
        raise InvalidField(f"--{option} {entry} has no =", field=option, fix=f"write {form}")
    return key, value


def input_media(client: Longtake, args: argparse.Namespace) -> dict[str, Any]:
    """The fields of the body with input media, whose files are uploaded. Raises InvalidField."""
    from core.service.domain.errors import InvalidField
    from core.service.domain.media_types import MediaKind

    if args.control_scale is not None and args.control is None:
        message = "--control-scale is given without --control"
        raise InvalidField(message, field="control-scale", fix="give --control TYPE=FILE, too")
    media: dict[str, Any] = {
        kind.value: reference_of(client, kind, kind, getattr(args, kind)) for kind in MediaKind if getattr(args, kind)
    }
    if args.control is not None:
        control_type, file = _key_value(args.control, "control", "TYPE=FILE")
        video = reference_of(client, "control", MediaKind.VIDEO, file)
        scale = {} if args.control_scale is None else {"scale": args.control_scale}
        media["control"] = {"type": control_type, "video": video, **scale}
    return media


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import api_of
    from cli.commands.watch import watch_job
    from cli.output.queued import print_queued

    with api_of(args) as client:
        job = client.jobs.create(request_body(args) | input_media(client, args))
        if args.watch:
            print(job.data.model_dump_json() if args.json else job.id, flush=True)
            return watch_job(client, job, out=None)  # prints the warnings, too
        print_queued(job.data, as_json=args.json)
        return 0
