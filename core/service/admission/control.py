"""`control` of a request becomes a complete ControlSpec, or is refused with the types that are possible. Pure."""

from __future__ import annotations

from core.service.admission.catalog import PresetFolder
from core.service.domain.errors import FieldNotSupported, InvalidField, shortened
from core.service.domain.schema import ControlOptions, ControlSpec


def control_spec_of(asked: ControlOptions | None, folder: PresetFolder) -> ControlSpec | None:
    """None if no control is requested. Raises FieldNotSupported, InvalidField or ModelNotInstalled."""
    if asked is None:
        return None
    _check_type(asked.type, folder)
    start, end = asked.start or 0.0, 1.0 if asked.end is None else asked.end
    if start >= end:
        message = f"it would act after {start:g} of the steps until {end:g} of them: never"
        field = "control.end" if asked.start is None else "control.start"
        raise InvalidField(message, field=field, fix="give a start below the end, each from 0 to 1")
    scale = 1.0 if asked.scale is None else asked.scale
    return ControlSpec(type=asked.type, video=asked.video, scale=scale, start=start, end=end)


def _check_type(wanted: str, folder: PresetFolder) -> None:
    name, possible = folder.preset.name, folder.preset.capabilities.control
    if not possible:
        fix = "leave it out, or use a model that names `control` types in GET /models"
        raise FieldNotSupported(f"{name} takes no control", field="control", fix=fix)
    if wanted not in possible:
        message = f"{name} has no control of type '{shortened(wanted, 64)}'"
        fix = f"use {possible[0]}" if len(possible) == 1 else f"use one of: {', '.join(possible)}"
        raise InvalidField(message, field="control.type", fix=fix)
    folder.require_control(wanted)
