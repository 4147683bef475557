"""Which input media a request has, whether its model takes them, and whether they can be used."""

from __future__ import annotations

from collections.abc import Callable

from core.service.domain.errors import FieldNotSupported, InvalidField
from core.service.domain.media_types import MediaKind
from core.service.domain.schema import CONTROL_VIDEO, JobRequest
from core.service.engines.preset import Preset

CheckReference = Callable[[MediaKind, str, str], None]
"""media_references.ReferenceCheck: raises a RequestError for a URL or upload that cannot be used. Called with its kind,
the reference, and the field that a refusal names."""


def check_input_media(request: JobRequest, preset: Preset, check: CheckReference) -> None:
    """Raises a RequestError for input media that the model does not take, needs and lacks, or cannot use. Whether it
    takes `control` is known."""
    _check_one(request)
    takes = preset.capabilities
    if request.image is not None:
        if not takes.image:
            fix = "leave it out, or use a model that says accepts_image in GET /models"
            raise FieldNotSupported(f"{preset.name} takes no image", field="image", fix=fix)
        check(MediaKind.IMAGE, request.image, "image")
    elif request.video is not None:
        if takes.video == "no":
            raise FieldNotSupported(f"{preset.name} takes no video", field="video", fix="leave it out")
        check(MediaKind.VIDEO, request.video, "video")
    elif request.control is not None:
        check(MediaKind.VIDEO, request.control.video, CONTROL_VIDEO)
    elif takes.needs_input:
        raise _input_missing(preset)


def _check_one(request: JobRequest) -> None:
    given = [name for name in ("image", "video", "control") if getattr(request, name) is not None]
    if len(given) > 1:
        message = f"both {given[0]} and {given[1]} are given"
        raise InvalidField(message, field=given[1], fix="give one of them")


def _input_missing(preset: Preset) -> InvalidField:
    takes = preset.capabilities
    taken = {"image": takes.image, "video": takes.video != "no", "control": bool(takes.control)}
    names = [name for name, is_taken in taken.items() if is_taken]
    fix = f"give {names[0]}" if len(names) == 1 else f"give a URL or an upload as {' or '.join(names)}"
    return InvalidField(f"{preset.name} needs input media", field=names[0], fix=fix)
