"""Frame rates, kept exactly: whole ones, decimals, fractions such as 30000/1001. For requests, jobs and presets.

A rate is an int where it is whole and a Fraction otherwise; its terms are small enough for an MP4's timescale.
Pure arithmetic and pydantic: knows no video, no job and no preset.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Annotated, Any, cast

from pydantic import GetJsonSchemaHandler, PlainSerializer, PlainValidator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError

MIN_RATE, MAX_RATE = 1, 60
"""Frames per second."""
MAX_DENOMINATOR = 10_000
"""As fine as four decimals. An MP4 timescale is a multiple of the numerator and has 32 bits."""

NTSC_RATES = tuple(Fraction(base * 1000, 1001) for base in (24, 30, 48, 60))
"""Rates that people write as decimals: 23.976, 29.97, 47.952, 59.94."""
_SNAP_DISTANCE = Fraction(1, 1000)
_FRACTION = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_FORM = r"^[0-9]{1,9}/[0-9]{1,9}$"


def parse_frame_rate(value: object) -> int | Fraction:
    """The rate that a number or a string "num/den" means, exactly.

    A decimal within 0.001 of an NTSC rate is that rate (29.97 is 30000/1001); every other decimal is what it says
    (12.5 is 25/2). Raises ValueErrors that pydantic reports as `greater_than_equal`, `less_than_equal`,
    `frame_rate_form` or `frame_rate_too_fine`.
    """
    rate = _exactly(value)
    if rate < MIN_RATE:
        raise PydanticKnownError("greater_than_equal", {"ge": MIN_RATE})
    if rate > MAX_RATE:
        raise PydanticKnownError("less_than_equal", {"le": MAX_RATE})
    if isinstance(value, float):
        rate = _snapped(rate)
    if rate.denominator > MAX_DENOMINATOR:
        raise PydanticCustomError("frame_rate_too_fine", "has a denominator above {most}", {"most": MAX_DENOMINATOR})
    return int(rate) if rate.denominator == 1 else rate


def _exactly(value: object) -> Fraction:
    if isinstance(value, int | Fraction) and not isinstance(value, bool):
        return Fraction(value)
    if isinstance(value, float) and math.isfinite(value):
        return Fraction(repr(value))  # the decimal that was written, not the binary number nearest to it
    match = _FRACTION.fullmatch(value) if isinstance(value, str) else None
    if match is None or not int(match[2]):
        raise PydanticCustomError("frame_rate_form", "is neither a number nor a fraction such as 30000/1001")
    return Fraction(int(match[1]), int(match[2]))


def _snapped(rate: Fraction) -> Fraction:
    near = [ntsc for ntsc in NTSC_RATES if abs(ntsc - rate) < _SNAP_DISTANCE]
    return near[0] if near else rate


def shown_frame_rate(rate: int | Fraction) -> int | str:
    """A whole rate as a number, which versions before 0.2 read, too; any other as "num/den"."""
    exact = Fraction(rate)
    return exact.numerator if exact.denominator == 1 else str(exact)


def seconds_of(num_frames: int, rate: int | Fraction) -> float:
    """How long frames play, correctly rounded once."""
    return float(Fraction(num_frames) / rate)


class _Schema:
    """The JSON Schema of a rate: what may be sent, and what is shown."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        shown = cast(Any, handler).mode == "serialization"
        return {
            "anyOf": [
                {"type": "integer" if shown else "number", "minimum": MIN_RATE, "maximum": MAX_RATE},
                {"type": "string", "pattern": _FORM, "examples": ["30000/1001"]},
            ]
        }


def _checked(value: object) -> int | float | str:
    """The rate as it was sent, where `parse_frame_rate` takes it."""
    parse_frame_rate(value)
    return cast(int | float | str, value)


AskedFrameRate = Annotated[int | float | str, PlainValidator(_checked), _Schema]
"""Frames per second of a request, as they were sent, so that admission can tell what became of them."""
FrameRate = Annotated[
    int | Fraction, PlainValidator(parse_frame_rate), PlainSerializer(shown_frame_rate, return_type=int | str), _Schema
]
"""Frames per second of a pydantic model: read by `parse_frame_rate`, written by `shown_frame_rate`."""
