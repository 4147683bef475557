"""Exact frame rates in frames per second: integers, decimals, and fractions such as 30000/1001.

A rate is an int if it is whole, else a Fraction whose terms fit an MP4's timescale.
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
"""Four decimals. An MP4 timescale is a multiple of the numerator and has 32 bits."""

NTSC_RATES = tuple(Fraction(base * 1000, 1001) for base in (24, 30, 48, 60))
"""Rates that are usually written as decimals: 23.976, 29.97, 47.952, 59.94."""
_SNAP_DISTANCE = Fraction(1, 1000)
_FRACTION = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_FORM = r"^[0-9]{1,9}/[0-9]{1,9}$"


def parse_frame_rate(value: object) -> int | Fraction:
    """The exact rate of a number or a string "num/den".

    A float within 0.001 of an NTSC rate is that rate (29.97 is 30000/1001); other floats are exact decimals (12.5 is
    25/2). Raises errors that pydantic reports as `greater_than_equal`, `less_than_equal`,
    `frame_rate_form` or `frame_rate_too_fine`.
    """
    if isinstance(value, int) and MIN_RATE <= value <= MAX_RATE and not isinstance(value, bool):
        return value  # as nearly all stored ones; fractions cost a list of jobs 7 % of its time
    rate = _exact_rate(value)
    if rate < MIN_RATE:
        raise PydanticKnownError("greater_than_equal", {"ge": MIN_RATE})
    if rate > MAX_RATE:
        raise PydanticKnownError("less_than_equal", {"le": MAX_RATE})
    if isinstance(value, float):
        rate = _snapped_to_ntsc(rate)
    if rate.denominator > MAX_DENOMINATOR:
        raise PydanticCustomError("frame_rate_too_fine", "has a denominator above {most}", {"most": MAX_DENOMINATOR})
    return int(rate) if rate.denominator == 1 else rate


def _exact_rate(value: object) -> Fraction:
    if isinstance(value, int | Fraction) and not isinstance(value, bool):
        return Fraction(value)
    if isinstance(value, float) and math.isfinite(value):
        return Fraction(repr(value))  # the decimal as written, not its nearest binary number
    match = _FRACTION.fullmatch(value) if isinstance(value, str) else None
    if match is None or not int(match[2]):
        raise PydanticCustomError("frame_rate_form", "is neither a number nor a fraction such as 30000/1001")
    return Fraction(int(match[1]), int(match[2]))


def _snapped_to_ntsc(rate: Fraction) -> Fraction:
    near = [ntsc for ntsc in NTSC_RATES if abs(ntsc - rate) < _SNAP_DISTANCE]
    return near[0] if near else rate


def frame_rate_json(rate: int | Fraction) -> int | str:
    """JSON form of a rate: an int if it is whole (also read by versions before 0.2), else "num/den"."""
    exact = Fraction(rate)
    return exact.numerator if exact.denominator == 1 else str(exact)


def seconds_of(num_frames: int, rate: int | Fraction) -> float:
    """Duration of frames in seconds, rounded once."""
    return float(Fraction(num_frames) / rate)


class _Schema:
    """JSON Schema of a rate in requests and in answers."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        is_answer = cast(Any, handler).mode == "serialization"
        return {
            "anyOf": [
                {"type": "integer" if is_answer else "number", "minimum": MIN_RATE, "maximum": MAX_RATE},
                {"type": "string", "pattern": _FORM, "examples": ["30000/1001"]},
            ]
        }


def _checked(value: object) -> int | float | str:
    """`value` unchanged if `parse_frame_rate` accepts it."""
    parse_frame_rate(value)
    return cast(int | float | str, value)


AskedFrameRate = Annotated[int | float | str, PlainValidator(_checked), _Schema]
"""Frames per second as the client sent them, so that admission can warn about a snapped rate."""
FrameRate = Annotated[
    int | Fraction, PlainValidator(parse_frame_rate), PlainSerializer(frame_rate_json, return_type=int | str), _Schema
]
"""Frames per second: parsed by `parse_frame_rate`, serialized by `frame_rate_json`."""
