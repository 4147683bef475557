"""`size` of a request, or a refusal with the nearest size that works. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import log

from core.service.domain.errors import FieldNotSupported, InvalidField
from core.service.domain.schema import JobRequest
from core.service.engines.capabilities import SizeRule
from core.service.engines.preset import Preset


def size_of(request: JobRequest, preset: Preset) -> tuple[int | None, int | None]:
    """Height and width in pixels; None, both: the preset's own, which is always possible.

    Raises FieldNotSupported for another one of a model that has one size or is refined, InvalidField for one that its
    networks do not take.
    """
    if request.size is None:
        return None, None
    width, height = (int(side) for side in request.size.split("x"))
    own = f"{preset.width}x{preset.height}"
    if (width, height) == (preset.width, preset.height):
        return None, None
    rule = preset.capabilities.size
    if rule is None:
        message = f"{preset.name} makes videos of {own} pixels only"
        raise FieldNotSupported(message, field="size", fix=f"give {own}, or leave it out")
    if request.refine:
        message = f"{preset.name} refines videos of {own} pixels only"
        raise FieldNotSupported(message, field="size", fix="leave size out, or refine")
    if not fits(rule, width, height):
        near_width, near_height = nearest(rule, width, height)
        message = f"{preset.name} cannot make {request.size}: {_said(rule)}"
        raise InvalidField(message, field="size", fix=f"give {near_width}x{near_height}")
    return height, width


def fits(rule: SizeRule, width: int, height: int) -> bool:
    """Whether a request may have this size."""
    return {width, height} <= {*_sides(rule)} and width * height <= rule.max_pixels


def nearest(rule: SizeRule, width: int, height: int) -> tuple[int, int]:
    """The possible width and height with the least sum of squared logarithms of their ratios to those asked for: of a
    size that is too large, a smaller one of about its proportion."""
    sides = _sides(rule)
    pairs = ((one, other) for one in sides for other in _around(height, sides, rule.max_pixels // one))
    return min(pairs, key=lambda pair: (log(pair[0] / width) ** 2 + log(pair[1] / height) ** 2, pair))


def _sides(rule: SizeRule) -> range:
    step = rule.multiple_of
    return range(-(-rule.min_side // step) * step, rule.max_side + 1, step)


def _around(side: int, sides: range, most: int) -> tuple[int, ...]:
    """The possible sides below and above `side`, or the largest one that is at most `most`; none if all are larger."""
    possible = sides[: bisect_right(sides, most)]
    index = bisect_left(possible, side)
    return tuple(possible[max(0, index - 1) : index + 1])


def _said(rule: SizeRule) -> str:
    sides = f"sides are multiples of {rule.multiple_of} from {rule.min_side} to {rule.max_side}"
    return f"{sides}, and a frame has at most {rule.max_pixels} pixels"
