"""Frame rates: accepted forms, exact values, and how they are shown and stored."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from core.service.domain.frame_rate import MAX_DENOMINATOR, FrameRate, frame_rate_json, parse_frame_rate, seconds_of
from core.service.domain.schema import JobSpec
from tests.helpers.jobs import job_spec


class Rated(BaseModel):
    fps: FrameRate


rates = st.fractions(min_value=1, max_value=60, max_denominator=MAX_DENOMINATOR)


@pytest.mark.parametrize(
    ("sent", "means", "shown"),
    [
        (24, 24, 24),
        (24.0, 24, 24),
        (23.976, Fraction(24000, 1001), "24000/1001"),
        (29.97, Fraction(30000, 1001), "30000/1001"),
        (47.952, Fraction(48000, 1001), "48000/1001"),
        (59.94, Fraction(60000, 1001), "60000/1001"),
        (24000 / 1001, Fraction(24000, 1001), "24000/1001"),  # as JavaScript and ffprobe compute it
        (12.5, Fraction(25, 2), "25/2"),
        (23.98, Fraction(1199, 50), "1199/50"),
        (1.0001, Fraction(10001, 10000), "10001/10000"),
        ("30000/1001", Fraction(30000, 1001), "30000/1001"),
        ("60000/2002", Fraction(30000, 1001), "30000/1001"),
        ("24/1", 24, 24),
        ("50/2", 25, 25),
        ("2997/100", Fraction(2997, 100), "2997/100"),
    ],
)
def test_a_rate_means_exactly_what_was_said_and_has_one_form(
    sent: object, means: int | Fraction, shown: int | str
) -> None:
    rate = parse_frame_rate(sent)
    assert (rate, type(rate)) == (means, type(means))
    assert frame_rate_json(rate) == shown


@pytest.mark.parametrize(
    "sent", [True, None, "24", "23.976", "", "1/0", "-24/1", "1/1/1", " 24/1", "²/1", "9" * 5000 + "/1"]
)
def test_what_is_no_rate_is_refused(sent: Any) -> None:
    with pytest.raises(ValidationError, match="neither a number nor a fraction"):
        Rated(fps=sent)


@pytest.mark.parametrize("sent", [0, 0.9999, 61, 60.0001, "59/60", "60001/1000", -24, 1e300, 10**400])
def test_a_rate_out_of_bounds_is_refused(sent: Any) -> None:
    with pytest.raises(ValidationError, match="than or equal to"):
        Rated(fps=sent)


@settings(deadline=None)
@given(rates)
def test_every_rate_is_read_back_from_what_is_stored(rate: Fraction) -> None:
    stored = Rated(fps=rate).model_dump_json()
    assert Rated.model_validate_json(stored).fps == rate


def test_a_whole_rate_is_stored_as_the_integer_that_older_versions_read() -> None:
    assert json.loads(job_spec(fps=24.0).model_dump_json())["fps"] == 24
    assert json.loads(job_spec(fps="30000/1001").model_dump_json())["fps"] == "30000/1001"


def test_a_job_stored_by_an_older_version_reads_as_before_also_with_a_seed_above_todays_bound() -> None:
    stored = json.loads(job_spec(fps=8).model_dump_json()) | {"seed": 2**63 - 1}
    spec = JobSpec.model_validate_json(json.dumps(stored))
    assert (spec.fps, type(spec.fps), spec.seed) == (8, int, 2**63 - 1)


@pytest.mark.parametrize("num_frames", [1, 16, 19, 2400])
@pytest.mark.parametrize("fps", [1, 7, 8, 24, 60])
def test_seconds_of_a_whole_rate_are_the_plain_quotient(num_frames: int, fps: int) -> None:
    assert seconds_of(num_frames, fps) == num_frames / fps


def test_an_hour_of_ntsc_frames_takes_three_seconds_and_a_fraction_more() -> None:
    assert seconds_of(30 * 3600, Fraction(30000, 1001)) == 3603.6
