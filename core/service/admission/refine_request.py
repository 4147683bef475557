"""`refine` of a request becomes a complete RefineSpec, or is refused with the nearest value that works. Pure."""

from __future__ import annotations

from core.service.admission.limits import Limit, RefineLimits
from core.service.domain.errors import FieldNotSupported, InvalidField
from core.service.domain.schema import NOISE_LEVELS, RefineOptions, RefineSpec
from core.service.engines.preset import Preset
from core.service.engines.refiner import RefinerPreset

SIDE_MULTIPLE = 8
"""Pixels per latent: a side must be a whole number of them."""


def refine_spec_of(
    asked: bool | RefineOptions | None, preset: Preset, limits: RefineLimits | None = None
) -> RefineSpec | None:
    """None if no refinement is requested. Raises FieldNotSupported or InvalidField.

    `limits` None: only the refiner's own limits apply.
    """
    if asked is None or asked is False:
        return None
    refiner = preset.refiner
    if refiner is None:
        fix = "leave it out, or use a model that says `refine` in GET /models"
        raise FieldNotSupported(f"{preset.name} has no refiner", field="refine", fix=fix)
    options = RefineOptions() if asked is True else asked
    width, height = _size(options.size, preset, refiner, limits)
    strength = refiner.strength if options.strength is None else options.strength
    steps = options.steps or refiner.num_inference_steps  # never 0: at least 1
    only_steps = options.steps is not None and options.strength is None
    if limits is not None:
        limits.steps.check("refine.steps", steps)
    _check_steps(strength, steps, "refine.steps" if only_steps else "refine.strength")
    return RefineSpec(
        strength=strength,
        num_inference_steps=steps,
        guidance_scale=options.guidance_scale or refiner.guidance_scale,
        height=height,
        width=width,
        schedule=options.schedule or "streaming",
    )


def _check_steps(strength: float, steps: int, field: str) -> None:
    """Raises InvalidField with values that work, those for `field` of the request first."""
    levels = round(max(0.0, strength) * NOISE_LEVELS)
    if steps < levels:
        return
    ways = [f"a strength of at least {(steps + 1) / NOISE_LEVELS:g}"] if steps < NOISE_LEVELS else []
    ways += [f"at most {levels - 1} steps"] if levels > 1 else []
    ways = ways or [f"a strength of 1 and at most {NOISE_LEVELS - 1} steps"]
    raise InvalidField(
        f"strength {strength:g} has {levels} noise levels; there must be fewer steps than these",
        field=field,
        fix="give " + " or ".join(ways if field == "refine.strength" else reversed(ways)),
    )


def check_lockstep(refine: RefineSpec, num_frames: int | None, limit: Limit) -> None:
    """Raises InvalidField if a step over all frames would hold a worker for too long, or has no last frame (None)."""
    if refine.schedule != "lockstep":
        return
    if num_frames is None:
        message = "lockstep begins after the last frame, which a video without end does not have"
        raise InvalidField(message, field="refine.schedule", fix="use the schedule streaming")
    if num_frames > limit.most:
        message = f"lockstep computes all {num_frames} frames in each step; the most is {limit.most}, {limit.set_by}"
        fix = f"use the schedule streaming, or give at most {limit.most} frames"
        raise InvalidField(message, field="refine.schedule", fix=fix)


def _size(text: str | None, preset: Preset, refiner: RefinerPreset, limits: RefineLimits | None) -> tuple[int, int]:
    """Requested width and height. Raises InvalidField that names the nearest size that works."""
    if text is None:
        return refiner.width, refiner.height
    width, height = (int(side) for side in text.split("x"))
    sizes = possible_sizes(preset, refiner, limits.pixels.most if limits else None)
    if (width, height) in sizes:
        return width, height
    nearest = min(sizes, key=lambda size: (abs(size[0] - width) + abs(size[1] - height), size))
    rule = (
        f"the preview is {preset.width}x{preset.height}; sides are multiples of {SIDE_MULTIPLE} in that proportion,"
        f" no smaller than the preview and at most {refiner.max_side}"
    )
    fix = f"give {nearest[0]}x{nearest[1]}"
    if limits and (width, height) in possible_sizes(preset, refiner):
        rule = f"it has {width * height} pixels; the most is {limits.pixels.most}, {limits.pixels.set_by}"
    raise InvalidField(f"refining to {text} is not possible: {rule}", field="refine.size", fix=fix)


def possible_sizes(preset: Preset, refiner: RefinerPreset, max_pixels: int | None = None) -> list[tuple[int, int]]:
    """(width, height) of every supported size, smallest first; the refiner's default is always one.

    `max_pixels` per frame; None: no limit.
    """
    widths = range(SIDE_MULTIPLE, refiner.max_side + 1, SIDE_MULTIPLE)
    in_proportion = [
        (width, width * preset.height // preset.width) for width in widths if not width * preset.height % preset.width
    ]
    sizes = {
        (width, height)
        for width, height in in_proportion
        if preset.height <= height <= refiner.max_side
        and not height % SIDE_MULTIPLE
        and (max_pixels is None or width * height <= max_pixels)
    }
    return sorted(sizes | {(refiner.width, refiner.height)})
