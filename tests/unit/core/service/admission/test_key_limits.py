"""Requests against the limits of an API key: what it may never have is refused with the field and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.service.admission.key_limits import check_length, check_priority, check_spec, most_frames_of, settings_for
from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import LimitExceeded
from core.service.domain.priority import Priority
from core.service.domain.schema import FirstChunkSampling, JobSpec
from core.service.domain.usage import KeyUsage
from core.service.settings import Settings
from tests.helpers.admission import spec_of
from tests.helpers.jobs import job_spec, refine_spec
from tests.helpers.presets import write_fake_preset

FIRST = FirstChunkSampling(num_inference_steps=5, guidance_scale=1.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    write_fake_preset(tmp_path, "fake", refiner=True)
    return Settings(presets_dir=tmp_path, default_model="fake")


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        ("num_inference_steps", job_spec(num_inference_steps=5)),
        ("first_chunk.num_inference_steps", job_spec(first_chunk=FIRST)),
        ("refine.steps", job_spec(refine=refine_spec(num_inference_steps=5))),
    ],
)
def test_more_steps_than_the_key_may_have_are_refused(field: str, spec: JobSpec) -> None:
    check_spec(spec, KeyLimits(inference_steps=5))
    with pytest.raises(LimitExceeded) as refused:
        check_spec(spec, KeyLimits(inference_steps=4))
    assert refused.value.message == f"{field} is 5; the most is 4, set by the limits of the API key"
    assert (refused.value.field, refused.value.fix) == (field, "give at most 4")


@pytest.mark.parametrize(
    ("asked", "most", "fix"), [("high", "normal", "give normal or low"), ("normal", "low", "give low")]
)
def test_a_higher_priority_than_the_key_may_have_is_refused(asked: str, most: str, fix: str) -> None:
    with pytest.raises(LimitExceeded) as refused:
        check_priority(Priority(asked), Priority(most))
    assert refused.value.message == f"priority is {asked}; the most is {most}, set by the limits of the API key"
    assert (refused.value.field, refused.value.fix) == ("priority", fix)


@pytest.mark.parametrize("asked", Priority)
def test_a_priority_up_to_that_of_the_key_is_allowed(asked: Priority) -> None:
    check_priority(asked, asked)
    check_priority(asked, Priority.HIGH)


def test_an_engine_without_steps_has_no_limit_of_them() -> None:
    check_spec(job_spec(num_inference_steps=None, first_chunk=None), KeyLimits(inference_steps=1))


def test_a_longer_video_than_the_key_may_have_is_refused() -> None:
    check_length(48, 48, KeyLimits(frames=48, frames_per_day=48))
    with pytest.raises(LimitExceeded, match="num_frames is 49; the most is 48"):
        check_length(49, 1, KeyLimits(frames=48))


def test_more_frames_than_a_day_has_are_refused_for_good() -> None:
    limits = KeyLimits(frames_per_day=100)
    check_spec(job_spec(num_frames=132), limits, known_frames=32)
    with pytest.raises(LimitExceeded, match="101 frames are asked for; the API key may have 100 per day") as refused:
        check_spec(job_spec(num_frames=133), limits, known_frames=32)
    assert refused.value.fix == "ask for at most 100"


def test_the_default_length_is_one_that_the_key_may_have(settings: Settings) -> None:
    assert spec_of(settings).num_frames == 48
    assert spec_of(settings_for(KeyLimits(frames=32), 32, settings)).num_frames == 32
    assert spec_of(settings_for(KeyLimits(frames=64), 64, settings)).num_frames == 48


@pytest.mark.parametrize(
    ("limits", "used", "known", "expected"),
    [
        (KeyLimits(), 0, 0, 1_000_000),
        (KeyLimits(frames=640), 0, 0, 640),
        (KeyLimits(frames_per_day=500), 80, 0, 420),
        (KeyLimits(frames_per_day=500), 80, 32, 452),
        (KeyLimits(frames_per_day=500, frames=100), 80, 0, 100),
        (KeyLimits(frames_per_day=500), 490, 0, 16),
    ],
)
def test_a_video_without_end_gets_what_is_left_of_the_day(
    settings: Settings, limits: KeyLimits, used: int, known: int, expected: int
) -> None:
    most = most_frames_of(limits, KeyUsage(frames_today=used), known)
    lowered = settings_for(limits, most, settings)
    assert spec_of(lowered, num_frames=None).endless_limit == expected


def test_a_deployment_without_endless_videos_has_none_for_a_key(settings: Settings) -> None:
    without = settings.model_copy(update={"max_endless_frames": 0})
    assert settings_for(KeyLimits(frames=640, frames_per_day=9), 16, without).max_endless_frames == 0
