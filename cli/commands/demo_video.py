"""What `longtake demo` asks for: by default the model's first example, along the clip that lies beside its preset."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cli.output.input_clip import InputClip
    from client import Longtake
    from core.service.admission.catalog import PresetFolder
    from core.service.settings import Settings

DEFAULT_PROMPT = "a red circle moving left over a striped background"
"""For models without an example."""
DEFAULT_FRAMES = 48
EXAMPLE_CLIP = "example.mp4"


@dataclass(frozen=True)
class WantedVideo:
    """Fields of the request without input media; the clip of this machine, and the type of control that it is for."""

    fields: dict[str, Any]
    clip: Path | None = None
    control: str | None = None
    is_along_clip: bool = False
    """Whether each frame is made from one of the clip."""


def wanted_video(args: argparse.Namespace, folder: PresetFolder) -> WantedVideo:
    """Raises SetupError if the model needs an image, or a clip and there is none."""
    preset = folder.preset
    _check_needs_no_image(args, folder)
    edits = preset.capabilities.video == "whole"
    clip = Path(args.video) if args.video else None
    if clip is None and (args.control or (edits and preset.capabilities.needs_input)):
        clip = example_clip(folder)
    is_along_clip = clip is not None and bool(args.control or edits)
    fields: dict[str, Any] = {"prompt": args.prompt or next(iter(preset.example_prompts), DEFAULT_PROMPT)}
    if "seed" in preset.capabilities.fields:
        fields["seed"] = args.seed
    if args.refine:
        fields["refine"] = True
    if args.frames is not None:
        fields["num_frames"] = args.frames
    elif not (is_along_clip and preset.capabilities.length_of_input):
        fields["num_frames"] = DEFAULT_FRAMES
    return WantedVideo(fields, clip, args.control, is_along_clip)


def _check_needs_no_image(args: argparse.Namespace, folder: PresetFolder) -> None:
    from core.service.domain.errors import SetupError

    name, takes = folder.path.name, folder.preset.capabilities
    has_input = args.control or (args.video and takes.video != "no")
    if takes.image and takes.needs_input and not has_input:
        raise SetupError(
            f"{name} makes videos from an image, which the demo has not",
            fix=f"use `longtake up` and `longtake submit --model {name} --image FILE`",
        )


def example_clip(folder: PresetFolder) -> Path:
    """The clip beside preset.json, or beside that of the preset whose parts this one shares. Raises SetupError."""
    from core.service.domain.errors import SetupError

    folders = (folder.path, folder.shared_weights)
    found = [path / EXAMPLE_CLIP for path in folders if path is not None and (path / EXAMPLE_CLIP).is_file()]
    if not found:
        raise SetupError(f"{folder.path.name} brings no example clip", fix="pass one with --video FILE")
    return found[0]


def input_media(wanted: WantedVideo, client: Longtake) -> dict[str, Any]:
    """The fields of the request with the clip, which is uploaded. Raises InvalidField."""
    from cli.commands.input_files import uploaded
    from core.service.domain.media_types import MediaKind

    if wanted.clip is None:
        return {}
    upload_id = uploaded(client, "video", MediaKind.VIDEO, wanted.clip)
    if wanted.control is None:
        return {"video": upload_id}
    return {"control": {"type": wanted.control, "video": upload_id}}


def input_clip(wanted: WantedVideo, settings: Settings) -> InputClip | None:
    """What the contact sheet shows above the result."""
    from cli.output.input_clip import InputClip
    from core.service.media.video import DecodeLimits

    if wanted.clip is None or not wanted.is_along_clip:
        return None
    seconds = settings.media_decode_timeout_seconds
    return InputClip(wanted.clip, DecodeLimits(settings.max_video_pixels, settings.max_video_seconds, seconds))
