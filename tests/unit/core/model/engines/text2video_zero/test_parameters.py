"""`parameters` of requests: defaults, bounds, and noise levels in order."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from core.model.engines.text2video_zero.parameters import TextToVideoZeroParameters


def test_defaults_are_the_published_ones() -> None:
    found = TextToVideoZeroParameters()

    assert (found.motion_x, found.motion_y, found.motion_interpolation) == (12.0, 12.0, "nearest")
    assert (found.t0, found.t1, found.background_smoothing) == (0.88, 0.94, 0)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"motion_x": 64.1}, "motion_x"),
        ({"motion_y": -65}, "motion_y"),
        ({"motion_x": float("nan")}, "motion_x"),
        ({"motion_interpolation": "cubic"}, "motion_interpolation"),
        ({"t0": 1.5}, "t0"),
        ({"t0": 0.95, "t1": 0.9}, "t1"),
        ({"t0": 0.5, "t1": 0.5}, "t1"),
        ({"t1": 0.5}, "t1"),
        ({"t0": 0.95}, "t1"),
        ({"t0": None}, "t0"),
        ({"background_smoothing": 1.1}, "background_smoothing"),
        ({"zoom": 2}, "zoom"),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TextToVideoZeroParameters.model_validate(asked)

    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


def test_every_parameter_says_what_it_does() -> None:
    schema = TextToVideoZeroParameters.model_json_schema()

    assert all(field["description"] for field in schema["properties"].values())
